"""`latent iam` as the admin meets it: what is missing is told with what to write, and writing that helps."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

MAIN = """\
[fleet]
name = "f"
controller = "c"
principal = "arn:aws:iam::999999999999:role/m"

[owner.alice]
account = "123456789012"
credentials = {credentials}
"""
IMAGE = 'owner = "alice"\nregion = "us-west-2"\nami = "ami-1"\ninstance_types = ["m7i.large"]\n'
CURE = r"write credentials = (\{.* external_id = \"(latent-[0-9a-f]{32})\".*\})\n$"
ROLE = "arn:aws:iam::123456789012:role/latent-worker"


def latent(binary: str, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([binary, "--config", str(config), *arguments], capture_output=True, text=True)


def written(folder: Path, credentials: str) -> Path:
    (folder / "amis").mkdir(exist_ok=True)
    (folder / "amis" / "debian.toml").write_text(IMAGE)
    config = folder / "latent.toml"
    config.write_text(MAIN.format(credentials=credentials))
    return config


@pytest.mark.parametrize(
    "credentials",
    [
        f'{{ assume_role = "{ROLE}" }}',
        f'{{ assume_role = "{ROLE}", profile = "master" }}',
        '{ profile = "alice" }',
        "{ environment = true }",
    ],
)
def test_an_external_id_is_made_and_told_as_it_is_to_be_written(
    binary: str, tmp_path: Path, credentials: str
) -> None:
    config = written(tmp_path, credentials)
    told = latent(binary, config, "iam", "--owner", "alice")
    assert (told.returncode, told.stdout) == (3, "")
    line = re.search(
        r"write credentials = (\{.* external_id = \"(latent-[0-9a-f]{32})\".*\})$", told.stderr.strip()
    )
    assert line and told.stderr.startswith(f"{config}: owner.alice.credentials"), told.stderr
    assert ('profile = "master"' in line[1]) == ("master" in credentials)
    again = latent(binary, config, "iam", "--owner", "alice").stderr
    assert line[2] not in again, "each is new"
    config = written(tmp_path, line[1])
    granted = latent(binary, config, "iam", "--owner", "alice", "--role", "worker")
    assert granted.returncode == 0 and line[2] in granted.stdout, granted.stderr
    assert "no external_id" not in latent(binary, config, "check").stdout


def test_the_check_of_a_configuration_mentions_a_missing_external_id(binary: str, tmp_path: Path) -> None:
    config = written(tmp_path, f'{{ assume_role = "{ROLE}" }}')
    checked = latent(binary, config, "check")
    assert checked.returncode == 0
    assert "owner.alice.credentials: no external_id; `latent iam --owner alice` makes one" in checked.stdout
