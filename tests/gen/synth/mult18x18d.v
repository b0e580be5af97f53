// MULT18X18D of ECP5 with its registers, for tests of gen.synth.dsp. Behaviour by Lattice's documents:
// a reset is synchronous and goes before an enable; signs are registered with their operands.
// An enable or a reset without a wire reads 1, as in the fabric.
module MULT18X18D(
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    input CLK3, CLK2, CLK1, CLK0, CE3, CE2, CE1, CE0, RST3, RST2, RST1, RST0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
        P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0";
    parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0";
    parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
    parameter GSR = "ENABLED", RESETMODE = "ASYNC";

    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    wire [18:0] a_used, b_used;
    wire [35:0] product = $signed({{17{a_used[18]}}, a_used}) * $signed({{17{b_used[18]}}, b_used});

    mult18x18d_register #(19, REG_INPUTA_CLK, REG_INPUTA_CE, REG_INPUTA_RST) register_a(
        CLK0, {CE3, CE2, CE1, CE0}, {RST3, RST2, RST1, RST0}, {SIGNEDA & a[17], a}, a_used);
    mult18x18d_register #(19, REG_INPUTB_CLK, REG_INPUTB_CE, REG_INPUTB_RST) register_b(
        CLK0, {CE3, CE2, CE1, CE0}, {RST3, RST2, RST1, RST0}, {SIGNEDB & b[17], b}, b_used);
    mult18x18d_register #(36, REG_OUTPUT_CLK, REG_OUTPUT_CE, REG_OUTPUT_RST) register_p(
        CLK0, {CE3, CE2, CE1, CE0}, {RST3, RST2, RST1, RST0}, product,
        {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
            P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1,
            P0});

    initial if (REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_OUTPUT_CLK != "NONE")
        if (GSR != "DISABLED" || RESETMODE != "SYNC" || SOURCEA || SOURCEB) $fatal(1, "mode");
endmodule

module mult18x18d_register #(
    parameter WIDTH = 1, CLOCK = "NONE", ENABLE = "CE0", RESET = "RST0"
) (
    input clk0, input [3:0] ce, input [3:0] rst, input [WIDTH-1:0] d, output [WIDTH-1:0] q
);
    function [1:0] last(input [31:0] name);
        last = name[1:0];  // the digit at the end of CE2 or RST2
    endfunction
    reg [WIDTH-1:0] kept = 0;
    assign q = CLOCK == "NONE" ? d : kept;
    always @(posedge clk0)
        if (rst[last(RESET)] !== 0) kept <= 0;
        else if (ce[last(ENABLE)] !== 0) kept <= d;
    initial if (CLOCK != "NONE" && CLOCK != "CLK0") $fatal(1, "clock");
endmodule
