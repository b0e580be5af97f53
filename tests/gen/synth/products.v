// Products with registers around them: those that fit into a multiplier, and those that do not.
module products(
    input clk, input reset, input [3:0] en,
    input signed [17:0] a, input signed [17:0] b, input [11:0] n,
    output reg signed [35:0] free, output reg signed [35:0] gated, output reg signed [35:0] stalled,
    output reg signed [15:0] narrow, output reg signed [35:0] chained, output reg [35:0] ones, output reg [35:0] both,
    output reg [35:0] late, output reg signed [35:0] cleared, output [35:0] bare,
    output signed [17:0] kept
);
    reg signed [17:0] a0 = 0, b0 = 0, a1 = 0, b1 = 0, a2 = 0, b2 = 0, a3 = 0;
    reg signed [7:0] c = 0;
    reg [11:0] n0 = 0, n1 = 0, n2 = 0;
    assign kept = a0;
    assign bare = a3 * b;
    initial {free, gated, stalled, narrow, chained, ones, both, late, cleared} = 0;
    always @(posedge clk) begin
        a0 <= a;
        b0 <= b;
        free <= a0 * b0;  // a0 has another load
        c <= b[9:2];
        narrow <= c * $signed(a0[7:0]);  // bits of an operand shared, signs extended
        chained <= $signed(free[20:3]) * b0;  // a product is an operand
        ones <= {1'b1, n0} * n0[5:0];  // a constant one, one control
        both <= {1'b1, n0} * {n0[3:0], 2'b11};  // not zero from the start
        n0 <= n;
    end
    always @(posedge clk) begin
        if (en[0]) a1 <= a;
        if (en[1]) b1 <= b;
        if (en[1]) gated <= a1 * b1;
        if (!en[2]) a2 <= b;
        if (!en[3]) b2 <= a;
        if (reset) a2 <= 0;
        if (reset) b2 <= 0;
        if (!en[3]) stalled <= a2 * b2;
        if (en[0]) n1 <= n;
        if (en[1]) n2 <= n;
        late <= {1'b1, n1} * n2;  // a constant one would come late
        a3 <= b;
        cleared <= reset ? 0 : a0 * b2;
    end
endmodule
