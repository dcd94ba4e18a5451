# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""A machine on which the launch scripts find stubs where the cloud's tools would be."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.runs import ROOT

LAUNCH = ROOT / "launch"
GOLDEN = Path(__file__).with_name("golden")
STUB = Path(__file__).with_name("stub.sh")
STUBBED = ("gcloud", "xpk", "kubectl", "sbatch", "srun", "scontrol", "ssh")
# All else that the scripts call; the machine's own gcloud is out of reach.
TOOLS = "bash basename cat cp cut dirname env find git grep gzip hostname kill ln mkdir"
TOOLS += " id mktemp mv nohup paste ps rm sed seq setsid sh sleep tail tar tee timeout touch tr wc"

UNUSUAL = ("Upper", "x" * 64)
"""No name of a machine, but harmless where other names are wanted."""

HOSTILE = (
    *UNUSUAL,
    "; touch pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "a b",
    "it's",
    'a"b',
    "a\ntouch pwned",
    "-rf",
    "--zone=elsewhere",
    "../up",
    "ä",
    "",
)
"""What must never be taken for the name of a machine."""

ODD_ARGUMENTS = (
    "--config",
    "configs/my recipe.py:note=it's; touch pwned",
    "--workdir",
    "/mnt/$(touch pwned)/`touch pwned`",
    '--config.train.schedule.warmup=1 "epoch" & touch pwned | touch pwned > pwned',
    "--config.train.test.every=*?[a]~{a,b}\\!#",
    "--empty=",
    "",
)
"""Arguments of a run that must arrive as they are."""


class Stage:
    """A folder to run the scripts in, with its own PATH, home and record of calls."""

    def __init__(self, folder, without=()):
        self.folder = folder
        self.bin = folder / "bin"
        self.home = folder / "home"
        for path in (self.bin, self.home):
            path.mkdir()
        for tool in TOOLS.split():
            if found := shutil.which(tool):
                (self.bin / tool).symlink_to(found)
        # A link to the interpreter itself would lose its environment.
        self.add("python3", f'exec {shlex.quote(sys.executable)} "$@"')
        for tool in STUBBED:
            if tool not in without:
                (self.bin / tool).symlink_to(STUB)

    def add(self, tool, body):
        """Put a program of a few lines of bash into PATH."""
        path = self.bin / tool
        path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
        path.chmod(0o755)

    def answer(self, body):
        """Say what the stubs do, in bash; $CALL is a call's number from 0, $tool the tool."""
        (self.folder / "answers.sh").write_text(body)

    def environment(self, **more):
        return {
            "PATH": str(self.bin),
            "HOME": str(self.home),
            "USER": "ada",
            "STUB_DIR": str(self.folder),
            "LAUNCH_WAIT_SEC": "0",
            "LAUNCH_POLL_SEC": "0",
            # Or it would be that of the repository's environment, if there is one.
            "PYTHON": "python3",
            **{name: str(value) for name, value in more.items()},
        }

    def run(self, script, *arguments, timeout=60, **environment):
        """Run a script to its end."""
        return subprocess.run(
            [str(LAUNCH / script), *map(str, arguments)],
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def calls(self):
        """Return the arguments of every call of a stub, the tool's name first."""
        files = sorted(self.folder.glob("call-*"))
        return [file.read_bytes().decode().split("\0")[:-1] for file in files]

    def assert_golden(self, name, text=None):
        """Compare calls, or a text, with a golden file; VIDPRETRAIN_GOLDEN=write makes it."""
        if text is None:
            text = "".join(shlex.join(call) + "\n" for call in self.calls())
        text = text.replace(str(ROOT), "ROOT").replace(str(self.folder), "STAGE")
        text = re.sub(r"/tmp/(tmp\.|vidpretrain-)\w+", "TMP", text)
        path = GOLDEN / f"{name}.txt"
        if os.environ.get("VIDPRETRAIN_GOLDEN") == "write":
            path.write_text(text)
        assert text == path.read_text()

    def assert_nothing_ran(self):
        assert self.calls() == []
        self.assert_harmless()

    def assert_harmless(self):
        assert not list(self.folder.rglob("pwned"))
        assert not (ROOT / "pwned").exists()
