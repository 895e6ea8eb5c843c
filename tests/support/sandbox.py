"""Runs a command with what a systemd unit takes away.

    python -m tests.support.sandbox RULES COMMAND...

RULES is a JSON object with the fields of Rules. systemd itself needs to be the
machine's first process; the kernel's side of it does not.
"""

import ctypes
import json
import os
import resource
import socket
import subprocess
import sys
from typing import NamedTuple

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_MDWE = 65
_PR_MDWE_REFUSE_EXEC_GAIN = 1
_CAPABILITIES = 64
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_EPERM = 1
_EQUAL = 4


class Rules(NamedTuple):
    """What the command may do."""

    system_calls: list[str]
    address_families: list[str]
    max_files: int
    deny_write_execute: bool


class _Comparison(ctypes.Structure):
    """As libseccomp's struct scmp_arg_cmp."""

    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


def allowed_calls(*filters: str) -> list[str]:
    """Return the system calls that the values of SystemCallFilter= allow, in their order."""
    sets = _call_sets()
    # These are allowed wherever anything is (systemd.exec(5)).
    allowed = set(_expanded("@default", sets))
    for text in filters:
        for name in text.removeprefix("~").split():
            if text.startswith("~"):
                allowed.difference_update(_expanded(name, sets))
            else:
                allowed.update(_expanded(name, sets))
    return sorted(allowed)


def _call_sets() -> dict[str, list[str]]:
    """Return what is in each of systemd's sets of system calls."""
    sets: dict[str, list[str]] = {}
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter"], capture_output=True, text=True, check=True
    )
    members: list[str] = []
    for line in listed.stdout.splitlines():
        if line.startswith("@"):
            members = sets.setdefault(line.strip(), [])
        elif line.startswith(" ") and not line.lstrip().startswith("#"):
            members.append(line.strip())
    return sets


def _expanded(name: str, sets: dict[str, list[str]]) -> list[str]:
    if not name.startswith("@"):
        return [name]
    return [call for member in sets[name] for call in _expanded(member, sets)]


def _restrict(rules: Rules) -> None:
    """Give up for good what the rules do not allow.

    Raises:
        OSError: if the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_CAPABILITIES):
        # Numbers that there are not are refused, as are all for an ordinary user.
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (rules.max_files, rules.max_files))
    options = [(_PR_SET_NO_NEW_PRIVS, 1)]
    if rules.deny_write_execute:
        options.append((_PR_SET_MDWE, _PR_MDWE_REFUSE_EXEC_GAIN))
    for option, value in options:
        if libc.prctl(option, value, 0, 0, 0) != 0:
            _check(-ctypes.get_errno())
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(_ERRNO | _EPERM))
    for name in rules.system_calls:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        # Negative where this machine's architecture has no such call.
        if number < 0:
            continue
        if name != "socket":
            _check(seccomp.seccomp_rule_add(context, _ALLOW, number, 0))
            continue
        for family in rules.address_families:
            is_family = _Comparison(0, _EQUAL, getattr(socket, family), 0)
            _check(
                seccomp.seccomp_rule_add_array(context, _ALLOW, number, 1, ctypes.byref(is_family))
            )
    _check(seccomp.seccomp_load(context))


def _check(result: int) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result))


if __name__ == "__main__":
    _restrict(Rules(**json.loads(sys.argv[1])))
    os.execvp(sys.argv[2], sys.argv[2:])
