"""Git as `ci` calls it: what it refuses, what it says, and where no secret ever stands."""

import contextlib
import getpass
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import delivery_lab
import pytest

from ci import process
from ci.errors import CiError, OutsideFault, Refused
from ci.native import net
from ci.tests.lab.git_server import Fault, running_git_server
from ci.tools import git, git_rules

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")

# A git that writes down what it was called with, then is the real one.
TELLTALE = """\
#!/bin/sh
{{ echo "argv: $0 $*"; echo "ps: $(tr '\\0' ' ' < /proc/$$/cmdline)"; }} >> {log}
exec {git} "$@"
"""


@pytest.fixture
def lab(tmp_path):
    with delivery_lab.running(tmp_path) as lab:
        yield lab


def checkout(lab, **environ):
    context = lab.context(**environ)
    return git.checkout(lab.delivery(context).manifests, context.environ, sleep=lambda _: None)


def failure(lab, **environ):
    """The error that a clone ends with."""
    with pytest.raises(CiError) as error, checkout(lab, **environ):
        pass
    assert delivery_lab.PASSWORD not in str(error.value)
    return error.value


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("", "MANIFEST_REPO_URL", id="none"),
        pytest.param("ext::sh -c id", "none of", id="ext with blanks"),
        pytest.param("ext::id", "none of", id="ext"),
        pytest.param("--upload-pack=id", "none of", id="option"),
        pytest.param("ssh://-oProxyCommand=id/x", "none of", id="ssh option"),
        pytest.param("https://me:pw@host.example/x.git", "credentials", id="password"),
        pytest.param("https://token@host.example/x.git", "credentials", id="token"),
        pytest.param("http://host.example/x.git", "clear", id="plain http"),
        pytest.param("https://me:pw/token@host.example/x.git", "none of", id="slash in password"),
        pytest.param("https://me:pw@token@host.example/x.git", "credentials", id="two ats"),
        pytest.param("ssh://me:pw/token@host.example/x.git", "none of", id="slash, ssh"),
        pytest.param("https://[::1/x.git", "none of", id="half an address"),
        pytest.param("-oProxyCommand=id@host:x", "none of", id="option with a host"),
        pytest.param("-oX@host:x", "none of", id="option like scp"),
        pytest.param("git://host.example/x.git", "none of", id="git"),
        pytest.param("../manifests.git", "none of", id="path"),
        pytest.param("https:///x.git", "none of", id="no host"),
        pytest.param("https://h.example/x\n.git", "none of", id="line end"),
    ],
)
def test_an_address_that_does_more_than_name_a_repository_is_refused(url, said):
    """By name, before git sees it, and without repeating a password."""
    with pytest.raises(Refused, match=said) as refused:
        git_rules.check_url(url)
    assert "pw" not in str(refused.value)
    assert "token" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://host.example/a/b.git",
        "http://127.0.0.1:8080/a.git",
        "http://[::1]:8080/a.git",
        "ssh://git@host.example:2222/a.git",
        "git@host.example:a/b.git",
        "file:///srv/a.git",
    ],
)
def test_addresses_that_name_a_repository_are_taken(url):
    """HTTPS, SSH in both spellings, files, and plain HTTP on this machine."""
    assert git_rules.check_url(url) == url


@pytest.mark.parametrize(
    "name", ["-f", "a..b", "a b", "x.lock", "/a", "a/", "@{u}", "a//b", "", "a~1", "a:b", ".a"]
)
def test_a_branch_is_a_branch_and_nothing_else(name):
    """What git would take for an option, a range or a refspec is refused."""
    with pytest.raises(Refused):
        git_rules.check_branch(name)
    assert git_rules.check_branch("release/2026.1_x-y") == "release/2026.1_x-y"


@pytest.mark.parametrize(
    ("said", "is_race"),
    [
        ("!\tHEAD:refs/heads/main\t[rejected] (fetch first)", True),
        ("!\tHEAD:refs/heads/main\t[rejected] (non-fast-forward)", True),
        ("!\tHEAD:refs/heads/main\t[remote rejected] (failed to update ref)", True),
        ("!\tHEAD:refs/heads/main\t[remote rejected] (cannot lock ref: is at 1a but …)", True),
        ("!\tHEAD:refs/heads/main\t[remote rejected] (incorrect old value provided)", True),
        ("!\tHEAD:refs/heads/main\t[remote rejected] (pre-receive hook declined)", False),
        ("!\tHEAD:refs/heads/main\t[remote rejected] (protected branch hook declined)", False),
        ("remote: fetch first\n!\tHEAD:main\t[remote rejected] (pre-receive hook declined)", False),
        ("fatal: unable to access 'https://host.example/': error: 500", False),
    ],
)
def test_a_race_is_known_by_the_verdict_not_by_what_a_hook_says(said, is_race):
    """The texts of git, GitHub, GitLab and Bitbucket, while the head has not moved yet."""
    assert git_rules.was_race(said) is is_race


def test_history_is_read_on_from_where_it_was_read_to(lab):
    """And anew when the branch was rewritten."""
    with checkout(lab) as repo:
        first = repo.history()
        lab.bump(1)
        repo.refresh()
        assert [each.sha for each in repo.history()] == lab.log()
        assert repo.history()[1:] == first
        tree = delivery_lab.git(lab.bare, "rev-parse", "main^{tree}")
        other = delivery_lab.git(lab.bare, "commit-tree", tree, "-m", "another beginning")
        delivery_lab.git(lab.bare, "update-ref", "refs/heads/main", other)
        repo.refresh()
        assert [each.sha for each in repo.history()] == [other]


def test_wrong_credentials_are_called_so(lab):
    """A 401 and a 403 are no fault of the network."""
    assert failure(lab, MANIFEST_REPO_PSW="wrong").status == "credentials"
    assert failure(lab, MANIFEST_REPO_PSW="").status == "credentials"
    lab.server.fault(Fault("upload-pack", status=403))
    assert failure(lab).status == "credentials"


def test_a_repository_that_moved_is_told_and_not_followed(lab):
    """A redirect gets no password; its text names the variable to change."""
    with running_git_server(lab.folder / "elsewhere", "x", "y") as other:
        lab.server.fault(Fault("upload-pack", status=301, location=f"{other.url('m')}/info/refs"))
        error = failure(lab)
        assert error.status == "moved"
        assert "MANIFEST_REPO_URL" in str(error)
        assert other.requests == []


def test_a_repository_that_is_not_there_is_told(lab):
    """404: the address, or the rights, are wrong."""
    assert failure(lab, MANIFEST_REPO_URL=lab.server.url("gone")).status == "not_found"


def test_an_empty_repository_and_a_missing_branch_are_told_apart(lab):
    """One needs a scaffold, the other another name."""
    lab.server.create("empty")
    assert failure(lab, MANIFEST_REPO_URL=lab.server.url("empty")).status == "empty"
    error = failure(lab, MANIFEST_REPO_BRANCH="trunk")
    assert error.status == "no_branch"
    assert "main" in str(error)


def test_a_server_that_does_not_answer_is_an_outside_fault(lab):
    """Exit 4: again may help."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = failure(lab, MANIFEST_REPO_URL=f"http://127.0.0.1:{port}/m.git")
    assert isinstance(error, OutsideFault)
    assert error.status == "unreachable"


def test_a_call_that_takes_too_long_is_ended(lab, monkeypatch):
    """Every call has a bound."""
    monkeypatch.setattr(git, "NETWORK_S", 0.2)
    for _ in range(8):
        lab.server.fault(Fault("upload-pack", wait_s=1))
    error = failure(lab)
    assert isinstance(error, OutsideFault)
    assert "did not end" in str(error)


def test_nothing_of_the_machine_reaches_git(lab, tmp_path):
    """Neither the person's configuration, nor hooks of theirs, nor other secrets of the build."""
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = Eve\n[core]\n\thooksPath = /evil\n")
    with checkout(lab, AWS_SECRET_ACCESS_KEY="aws-secret", GIT_DIR="/nowhere") as repo:
        assert repo.must("config", "core.hooksPath").strip() == os.devnull
        assert repo.run("config", "user.name").code == 1
        assert "aws-secret" not in str(repo.environ)
        assert delivery_lab.PASSWORD not in str(repo.environ)
        assert delivery_lab.PASSWORD not in repr(repo)
        assert repo.folder.exists()
    assert not repo.folder.exists()


def test_no_secret_in_argv_log_message_or_clone(lab, tmp_path, caplog, monkeypatch):
    """The password is searched for wherever a program writes, and the bump went through."""
    caplog.set_level(logging.DEBUG)
    bin_folder, log, clones = tmp_path / "bin", tmp_path / "argv", tmp_path / "clones"
    bin_folder.mkdir()
    clones.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(clones))
    tell = bin_folder / "git"
    tell.write_text(TELLTALE.format(log=log, git=shutil.which("git")))
    tell.chmod(0o755)
    found, looked = [], []

    def look(step):
        looked.extend(clones.glob(f"{process.PRIVATE}manifests-*/clone/.git/config"))
        for clone in clones.glob(f"{process.PRIVATE}manifests-*"):
            files = [path for path in clone.rglob("*") if path.is_file()]
            secret = delivery_lab.PASSWORD.encode()
            found.extend(path for path in files if secret in path.read_bytes())

    means = delivery_lab.Means(render=lambda *_: (), at=look)
    context = lab.context(at=1, PATH=f"{bin_folder}:{os.environ['PATH']}")
    outcome = lab.bump(1, context=context, means=means)
    assert outcome.status == "bumped"
    assert looked
    assert found == []
    argv = log.read_text()
    assert argv.count("argv: ") > 10
    assert " push " in argv
    message = delivery_lab.git(lab.bare, "log", "--format=%B")
    screen = context.screen.stream.getvalue()
    for place in (argv, message, screen, caplog.text, outcome.text, str(outcome.facts)):
        assert delivery_lab.PASSWORD not in place
    assert not any(delivery_lab.PASSWORD in each for each in lab.server.requests)


def test_what_a_server_says_is_told_without_the_password(lab):
    """A hook that echoes what it should not know changes nothing."""
    lab.server.hook(
        "manifests", "pre-receive", f"#!/bin/sh\necho '{delivery_lab.PASSWORD}' >&2\nexit 1\n"
    )
    with pytest.raises(Refused) as refused:
        lab.bump(1)
    assert delivery_lab.PASSWORD not in str(refused.value)
    assert "••••" in str(refused.value)


@pytest.fixture
def signing_key(tmp_path):
    """An SSH key without a passphrase; its public half stands beside it."""
    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is missing (Debian: openssh-client)")
    path = tmp_path / "key"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ci", "-f", str(path)]
    subprocess.run(argv, check=True)
    return path


def test_a_commit_is_signed_with_the_key_that_is_there(lab, signing_key):
    """`git verify-commit` believes it, given the allowed signers."""
    lab.bump(1, context=lab.context(at=1, COMMIT_SIGNING_KEY=str(signing_key)))
    allowed = lab.folder / "allowed"
    allowed.write_text(f"ci@cloudopshub.invalid {signing_key.with_suffix('.pub').read_text()}")
    verified = delivery_lab.git(
        lab.bare, "-c", f"gpg.ssh.allowedSignersFile={allowed}", "log", "-1", "--format=%G? %GS"
    )
    assert verified == "G ci@cloudopshub.invalid"
    config = f"gpg.ssh.allowedSignersFile={allowed}"
    delivery_lab.git(lab.bare, "-c", config, "verify-commit", "main")


def test_a_signature_that_is_asked_for_is_not_optional(lab):
    """Without a key nothing is begun."""
    lab.text = lab.text.replace("require_signature = false", "require_signature = true")
    with pytest.raises(Refused, match="COMMIT_SIGNING_KEY") as refused:
        lab.bump(1)
    assert refused.value.status == "unsigned"
    assert lab.server.requests == []
    with checkout(lab) as repo:  # reading needs none
        assert repo.history()


def test_a_key_with_a_passphrase_fails_at_once(lab, signing_key):
    """Nobody is there to type it."""
    argv = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "hard to guess", "-f", str(signing_key)]
    subprocess.run(argv, check=True, capture_output=True)
    with pytest.raises(OutsideFault) as fault:
        lab.bump(1, context=lab.context(at=1, COMMIT_SIGNING_KEY=str(signing_key)))
    assert fault.value.status == "signing"
    assert len(lab.log()) == 1


def test_a_link_that_leaves_the_clone_is_refused_at_once(lab):
    """Helm would follow it."""
    lab.change(lambda folder: (folder / "secrets.yaml").symlink_to("/etc/hostname"))
    assert failure(lab).status == "symlink"


def test_a_link_to_itself_is_refused_at_once(lab):
    """It leads nowhere, and no program ends well there."""
    lab.change(lambda folder: (folder / "values.yaml").symlink_to("values.yaml"))
    assert failure(lab).status == "symlink"


def test_submodules_and_links_are_no_files(lab):
    """They are neither fetched nor read."""
    other = lab.server.create("other")
    delivery_lab.seed(other, {"x": "y"})
    head = delivery_lab.git(other, "rev-parse", "main")

    def add(folder):
        (folder / "same.yaml").symlink_to("environments/staging/das-service.yaml")
        (folder / ".gitmodules").write_text(
            f'[submodule "sub"]\n\tpath = sub\n\turl = {lab.server.url("other")}\n'
        )
        delivery_lab.git(folder, "update-index", "--add", "--cacheinfo", f"160000,{head},sub")

    lab.change(add)
    with checkout(lab) as repo:
        assert repo.read("environments/staging/das-service.yaml")
        for path in ("sub", "same.yaml", "../x"):
            with pytest.raises(Refused):
                repo.read(path)
    assert not any("/other.git" in each for each in lab.server.requests)


def test_over_file_it_is_the_same(lab):
    """A bare repository on a disk needs no password."""
    url = f"file://{lab.bare}"
    context = lab.context(at=1, MANIFEST_REPO_URL=url, MANIFEST_REPO_USR="", MANIFEST_REPO_PSW="")
    assert lab.bump(1, context=context).status == "bumped"


@contextlib.contextmanager
def running_sshd(folder, key):
    """An sshd of our own on a free port: our host key, our authorised key; its known_hosts line."""
    host_key = folder / "host_key"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)]
    subprocess.run(argv, check=True)
    (folder / "authorized").write_text(key.with_suffix(".pub").read_text())
    with socket.socket() as free:
        net.bind(free, "127.0.0.1", 0)
        port = free.getsockname()[1]
    options = [
        f"HostKey={host_key}", f"AuthorizedKeysFile={folder / 'authorized'}", "UsePAM=no",
        "StrictModes=no", f"PidFile={folder / 'pid'}", "PasswordAuthentication=no",
    ]  # fmt: skip
    command = [SSHD, "-D", "-e", "-f", os.devnull, "-p", str(port)]
    command += [word for option in options for word in ("-o", option)]
    command += ["-o", "ListenAddress=127.0.0.1"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as sshd:
        try:
            until = time.monotonic() + 600
            while time.monotonic() < until and sshd.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
            known = folder / "known"
            public = host_key.with_suffix(".pub").read_text()
            known.write_text(f"[127.0.0.1]:{port} {public}")
            yield port, known
        finally:
            sshd.terminate()


@pytest.mark.skipif(SSHD is None, reason="sshd is missing (Debian: openssh-server)")
def test_over_ssh_with_a_key_file_and_a_known_host(lab, signing_key, tmp_path):
    """Its own key and its own known hosts, in a workspace as Jenkins names them.

    An unknown host or a wrong key is told apart.
    """
    Path("/run/sshd").mkdir(exist_ok=True) if os.geteuid() == 0 else None
    workspace = tmp_path / "my hub_feature%2Fx"
    workspace.mkdir()
    with running_sshd(tmp_path, signing_key) as (port, hosts):
        known, key = hosts.rename(workspace / "known"), signing_key.rename(workspace / "key")
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{lab.bare}"
        given = {
            "MANIFEST_REPO_URL": url,
            "MANIFEST_REPO_SSH_KEY": str(key),
            "MANIFEST_REPO_KNOWN_HOSTS": str(known),
        }
        assert lab.bump(1, context=lab.context(at=1, **given)).status == "bumped"
        nobody = tmp_path / "nobody"
        nobody.write_text("")
        error = failure(lab, **given | {"MANIFEST_REPO_KNOWN_HOSTS": str(nobody)})
        assert error.status == "host_key"
        (tmp_path / "authorized").write_text("")
        assert failure(lab, **given).status == "credentials"


def test_a_commit_holds_what_was_meant_and_nothing_else(lab):
    """Only the edited paths, by the configured author; a name that is a pattern is a name."""
    with checkout(lab) as repo:
        repo.author = ("A Person", "person@example.org")
        path = "environments/staging/das-service.yaml"
        repo.write({path: b"a: 1\n", "environments/staging/ui-service.yaml": b"b: 1\n"})
        with pytest.raises(CiError):
            repo.commit("x", ["environments/*/das-service.yaml"])
        repo.discard()
        repo.write({path: b"a: 1\n"})
        sha, pushed = repo.commit("a person\n\nKey: value\n", [path]), repo.push()
    assert pushed.landed
    assert delivery_lab.git(lab.bare, "log", "-1", "--format=%H %an %ae") == (
        f"{sha} A Person person@example.org"
    )
    assert replace(pushed, said="") == git.Pushed(landed=True)


def test_a_branch_that_was_set_back_is_not_pushed_to(lab):
    """To git it is a fast-forward of the older head, and would bring back what was undone."""
    lab.bump(1)
    before = delivery_lab.git(lab.bare, "rev-parse", "main^")
    path = "environments/staging/das-service.yaml"
    with checkout(lab) as repo:
        repo.write({path: b"a: 1\n"})
        repo.commit("a push that comes too late\n", [path])
        delivery_lab.git(lab.bare, "update-ref", "refs/heads/main", before)
        pushed = repo.push()
    assert (pushed.landed, pushed.error) == (False, None)
    assert "stale info" in pushed.said
    assert delivery_lab.git(lab.bare, "rev-parse", "main") == before


@pytest.mark.parametrize(
    "attributes", ["*.yaml text", "* text eol=lf", "*.yaml text eol=crlf", "* ident",
                   "*.yaml working-tree-encoding=UTF-16", "*.yaml binary"],
)  # fmt: skip
def test_attributes_of_the_repository_change_no_byte(lab, attributes):
    """Line ends and `$Id$` stay what they are in a file that its attributes would normalise."""
    before = b"# $Id$\r\nimage:\r\n  repository: registry.example/cloudopshub-das\r\n  tag: x\r\n"
    given = f"M 100644 inline .gitattributes\ndata {len(attributes)}\n{attributes}\n"
    given += f"M 100644 inline environments/staging/das-service.yaml\ndata {len(before)}\n"
    head = delivery_lab.git(lab.bare, "rev-parse", "main")
    commit = f"commit refs/heads/main\ncommitter a <a@b> 1769860000 +0000\ndata 1\nx\nfrom {head}\n"
    delivery_lab.git(
        lab.bare, "fast-import", "--quiet", given=f"{commit}{given}{before.decode()}\n"
    )
    assert lab.bump(1, codes=["das"]).facts["diff"].count("\n+") == 2  # `+++` and the line
    shown = ["git", "show", "main:environments/staging/das-service.yaml"]
    after = subprocess.run(shown, cwd=lab.bare, capture_output=True, check=True).stdout
    assert after == before.replace(b"tag: x", f"tag: {lab.release(1).images['das'].pin}".encode())


def test_a_commit_of_no_calendar_is_stepped_over(lab):
    """A person's commit from the year three million does not end every delivery."""
    tree, head = (delivery_lab.git(lab.bare, "rev-parse", f"main{end}") for end in ("^{tree}", ""))
    who = "a <a@b> 99999999999999 +0000"
    text = f"tree {tree}\nparent {head}\nauthor {who}\ncommitter {who}\n\nx\n\nKind: bump\n"
    argv = ["hash-object", "-t", "commit", "-w", "--literally", "--stdin"]
    sha = delivery_lab.git(lab.bare, *argv, given=text)
    delivery_lab.git(lab.bare, "update-ref", "refs/heads/main", sha)
    assert lab.bump(1).status == "bumped"
