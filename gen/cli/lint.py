"""``attnsieve lint``."""

from __future__ import annotations

from attnsieve.gen import lint
from attnsieve.gen.cli.console import print_json, steps
from attnsieve.gen.cli.options import Json, Overlays, Seed, Settings, System, configuration

__all__ = ["command"]


def command(
    system: System,
    config: Overlays = None,
    settings: Settings = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> int:
    """Lint the Verilog of SYSTEM: Verilator -Wall, Icarus -Wall, yosys check, latches, loops."""
    chosen = configuration(system, config, settings)
    with steps(f"lint {chosen.name}"):
        report = lint.lint(chosen)
    if as_json:
        print_json({"clean": report.clean, **report.as_dict(), "waivers": lint.WAIVERS})
    else:
        for tool, findings in report.as_dict().items():
            print(f"{tool}: {'clean' if not findings else f'{len(findings)} findings'}")
            for finding in findings:
                print(f"  {finding}")
        for rule, reason in lint.WAIVERS.items():
            print(f"waived: {rule}: {reason}")
    return 0 if report.clean else 1
