"""Confined: runs a program and its tests in this very process, once it has given up all it could do harm with.

Run by evals.sandbox as `python -I -S confined.py`, never imported: it reads one JSON object {code, tests, secret,
limits} from standard input and writes the secret to standard output if every test held. What it gives up:

- files: Landlock leaves Python's own library to read, and the current directory to write;
- network, further processes, signals, tracing, owners, modes and limits: seccomp answers EPERM;
- time, memory, file size and open files: limits of the kernel.
"""

import ctypes
import json
import os
import platform
import resource
import struct
import sys
import sysconfig

UNCONFINED = "unconfined: "
_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_FILTER, _SIGKILL = 1, 38, 22, 2, 9

# --- system calls ----------------------------------------------------------------------------------

# fmt: off
_X86_64 = {
    "network": (41, 42, 43, 49, 50, 53, 288),  # socket connect accept bind listen socketpair accept4
    "processes": (57, 58, 59, 322),  # fork vfork execve execveat
    "signals": (62, 200, 234, 129, 297, 424, 434, 438),  # kill tkill tgkill rt_(tg)sigqueueinfo pidfd_*
    "tracing": (101, 310, 311, 312, 298, 321, 323, 300, 440, 448),  # ptrace process_* perf bpf fanotify
    "ways round": (425, 426, 427, 304, 303, 272, 308, 165, 166, 155, 161, *range(428, 434), 442),  # io_uring mounts
    "modes": (90, 91, 268, 452, 92, 93, 94, 260, 188, 189, 190, 197, 198, 199, 132, 235, 261, 280, 76),
    "limits": (157, 160, 302, 141, 203, 144, 142, 314, 251, 256, 279, 135),  # prctl *rlimit* *prio* sched_* *_pages
    "shared": (29, 30, 31, *range(64, 72), 220, 240, 241, 248, 249, 250),  # shm sem msg mq keys
    "machine": (169, *range(170, 174), 175, 176, 313, 246, 320, 164, 227, 305, 159, 163, 167, 168, 179, 443, 103, 153),
}
_AARCH64 = {
    "network": (198, 199, 200, 201, 202, 203, 242),
    "processes": (221, 281),
    "signals": (129, 130, 131, 138, 240, 424, 434, 438),
    "tracing": (117, 270, 271, 272, 241, 280, 282, 262, 440, 448),
    "ways round": (425, 426, 427, 264, 265, 97, 268, 40, 39, 41, 51, *range(428, 434), 442),
    "modes": (52, 53, 452, 54, 55, 5, 6, 7, 14, 15, 16, 88, 45),
    "limits": (167, 164, 261, 140, 118, 119, 122, 274, 30, 239, 238, 92),
    "shared": (*range(186, 198), 180, 181, 217, 218, 219),
    "machine": (142, 161, 162, 105, 106, 273, 104, 294, 170, 112, 266, 171, 89, 224, 225, 60, 443, 116, 58),
}
# fmt: on
_MACHINES = {  # AUDIT_ARCH, clone, and the numbers of what is denied
    "x86_64": (0xC000003E, 56, _X86_64),
    "aarch64": (0xC00000B7, 220, _AARCH64),
}
_CLONE3, _CLONE_THREAD, _FOREIGN = 435, 0x10000, 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ALLOW, _EPERM, _ENOSYS = 0x80000000, 0x7FFF0000, 0x50001, 0x50026


def give_up_system_calls() -> None:
    """Deny what reaches beyond this process. A thread may be made, a process may not."""
    arch, clone, denied = _MACHINES[platform.machine()]
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    steps += [(_AT_LEAST, 0, 1, _FOREIGN), (_RETURN, 0, 0, _EPERM)]
    for number in sorted({number for numbers in denied.values() for number in numbers}):
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    # glibc falls back from clone3, whose flags a filter cannot see, to clone, whose flags it can.
    steps += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ENOSYS)]
    steps += [(_EQUAL, 0, 3, clone), (_LOAD, 0, 0, 16), (_ANY_BIT, 1, 0, _CLONE_THREAD), (_RETURN, 0, 0, _EPERM)]
    steps += [(_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    _call(_LIBC.prctl, _PR_SET_SECCOMP, _SECCOMP_FILTER, program, 0, 0)


# --- files -----------------------------------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF, _PATH_BENEATH = 444, 445, 446, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights to files that a version of Landlock knows."""
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14
_DEVICES = ("/dev/null", "/dev/urandom")


def give_up_files(folder: str) -> None:
    """Leave Python's library and the machine's to read, and the folder to do as one likes."""
    version = _LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        raise OSError("this kernel has no Landlock")
    every = _RIGHTS[min(version, max(_RIGHTS))]
    rules = _call(_LIBC.syscall, _CREATE_RULESET, struct.pack("Q", every), ctypes.c_size_t(8), 0)
    reading = _EXECUTE | _READ_FILE | _READ_DIR
    for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "/lib", "/lib64", "/usr/lib"}:
        _allow(rules, path, reading)
    for path in _DEVICES:
        _allow(rules, path, _READ_FILE | _WRITE_FILE)
    _allow(rules, folder, every & ~_EXECUTE)
    _call(_LIBC.syscall, _RESTRICT_SELF, rules, 0)
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    if not os.path.exists(path):
        return
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    allowed = rights if os.path.isdir(path) else rights & _FILE_RIGHTS
    _call(_LIBC.syscall, _ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", allowed, place), 0)
    os.close(place)


# --- limits and the run ----------------------------------------------------------------------------


def give_up_resources(limits: dict[str, int]) -> None:
    """Bound processor seconds, bytes of memory and of a file, and open files."""
    for kind, most in (
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def _call(function: object, *arguments: object) -> int:
    result: int = function(*arguments)  # type: ignore[operator]
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def main() -> None:
    """Confine this process, then run what it was given."""
    asked = json.loads(sys.stdin.buffer.read())
    told = os.dup(1)
    nowhere = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    try:
        _call(_LIBC.prctl, _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)  # nobody else ends a program that waits
        _call(_LIBC.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        give_up_resources(asked["limits"])
        give_up_files(os.getcwd())
        give_up_system_calls()
    except (OSError, KeyError, ValueError) as error:
        os.write(told, f"{UNCONFINED}{error}".encode())
        os._exit(1)
    names: dict[str, object] = {"__name__": "__main__"}
    for part in ("code", "tests"):
        exec(compile(asked[part], part, "exec"), names)
    os.write(told, asked["secret"].encode())
    os._exit(0)


if __name__ == "__main__":
    main()
