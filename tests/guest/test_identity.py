"""What a guest writes into its worker's info/, in each shell, as the model's own metadata has it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess
import urllib.request
from pathlib import Path

import pytest
from account import Account, tag_specs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from watch import SCRIPTS

NAMES = ["latent-identity-document", "latent-identity-signature", "latent-instance-id"]
# curl and GNU wget as they are, and nc where there is neither.
CLIENTS = ["curl", "wget", "nc"]


def identify(shell: list[str], info: Path, imds: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the script; its answer."""
    environment = {"PATH": os.environ["PATH"], "LATENT_IMDS": imds, "LATENT_TRIES": "1", **settings}
    command = [*shell, str(SCRIPTS / "identity.sh"), str(info)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def instance(account: Account) -> str:
    """A running instance with a metadata service of version 2."""
    return account.running(MetadataOptions={"HttpTokens": "required"}, TagSpecifications=tag_specs("instance"))


def imds_of(account: Account, instance: str) -> str:
    return f"{account.endpoint}/_sim/imds/{instance}"


def is_signed(account: Account, document: bytes, signature: str) -> bool:
    """Whether the model's certificate says that this is its signature of the document."""
    with urllib.request.urlopen(f"{account.endpoint}/_sim/certificate.pem", timeout=10) as answer:
        key = x509.load_pem_x509_certificate(answer.read()).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    try:
        key.verify(base64.b64decode(signature), document, padding.PKCS1v15(), hashes.SHA256())
    except Exception:
        return False
    return True


@pytest.mark.parametrize("client", CLIENTS)
def test_the_document_arrives_as_it_was_signed(
    account: Account, instance: str, tmp_path: Path, shell: list[str], client: str
) -> None:
    if shutil.which(client) is None:
        pytest.skip(f"no {client} on this machine")
    info = tmp_path / "worker" / "info"
    done = identify(shell, info, imds_of(account, instance), LATENT_CLIENT=client)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(path.name for path in info.iterdir()) == NAMES
    assert (info / "latent-instance-id").read_text() == instance
    document = (info / "latent-identity-document").read_bytes()
    signature = (info / "latent-identity-signature").read_text()
    assert json.loads(document)["instanceId"] == instance
    assert is_signed(account, document, signature)
    assert not is_signed(account, document.replace(b"i-", b"j-", 1), signature)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in info.iterdir())


def test_what_an_earlier_instance_wrote_is_gone_whatever_follows(tmp_path: Path, shell: list[str]) -> None:
    info = tmp_path / "info"
    info.mkdir()
    for name in NAMES:
        (info / name).write_text("of an earlier instance")
    (info / "admin").write_text("Alice")
    done = identify(shell, info, "http://127.0.0.1:9", LATENT_CLIENT="curl")
    assert done.returncode == 1 and "the metadata service gives no token" in done.stderr, done
    assert [path.name for path in info.iterdir()] == ["admin"]


def test_nothing_is_written_where_the_instance_has_no_metadata(
    account: Account, tmp_path: Path, shell: list[str]
) -> None:
    off = account.running(MetadataOptions={"HttpEndpoint": "disabled"}, TagSpecifications=tag_specs("instance"))
    done = identify(shell, tmp_path / "info", imds_of(account, off))
    assert done.returncode == 1 and "cannot be read: HTTP 403" in done.stderr, done
    assert list((tmp_path / "info").iterdir()) == []


def test_without_a_folder_it_says_how_it_is_called(shell: list[str]) -> None:
    done = subprocess.run([*shell, str(SCRIPTS / "identity.sh")], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (2, "usage: identity.sh BASEDIR/info\n")
