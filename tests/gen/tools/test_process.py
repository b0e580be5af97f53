"""Running programs: logs, one-line errors, time limits."""

import sys
import time
from pathlib import Path

import pytest

from attnsieve.gen.errors import UserError
from attnsieve.gen.tools import MissingToolError, ToolError, run


def python(code, **options):
    return run([sys.executable, "-c", code], name="prog", **options)


def test_output_and_errors_are_one_log():
    log = python("import sys; print('a', flush=True); print('b', file=sys.stderr)")
    assert log.split() == ["a", "b"]


def test_standard_input():
    assert python("print(input()[::-1])", stdin="abc\n") == "cba\n"


def test_failure_is_one_line():
    code = "import sys; print('x'); print('ERROR: no top'); print('y'); sys.exit(3)"
    with pytest.raises(ToolError, match=r"^prog: ERROR: no top \(exit status 3\)$") as caught:
        python(code)
    assert caught.value.log == "x\nERROR: no top\ny\n"


def test_failure_without_an_error_line_shows_the_last():
    with pytest.raises(ToolError, match=r"^prog: last \(exit status 1\)$"):
        python("print('first'); print('last'); raise SystemExit(1)")


def test_failure_without_output():
    with pytest.raises(ToolError, match=r"^prog: no output \(killed by signal 9\)$"):
        python("import os; os.kill(os.getpid(), 9)")


def test_failure_can_be_accepted():
    assert python("print('x'); raise SystemExit(1)", check=False) == "x\n"


def test_missing_program():
    with pytest.raises(MissingToolError, match=r"^no-such-program is not installed$"):
        run(["no-such-program"])
    assert issubclass(MissingToolError, UserError)


def test_missing_folder(tmp_path):
    with pytest.raises(ToolError, match=r"^prog: .*/nowhere is not a directory$"):
        python("", cwd=tmp_path / "nowhere")


def test_time_limit_kills_children_too(tmp_path):
    pid = tmp_path / "pid"
    code = f"import subprocess; p = subprocess.Popen(['sleep', '60']); open({str(pid)!r}, 'w')"
    code += ".write(str(p.pid)); p.wait()"
    start = time.monotonic()
    with pytest.raises(ToolError, match=r"^prog: not done after 1 s$"):
        python(code, timeout=1)
    assert time.monotonic() - start < 20
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid.read_text()}/stat").read_text().split()[2]
        except (ProcessLookupError, FileNotFoundError):
            break
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child is still running")
