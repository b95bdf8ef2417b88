"""What the registers of a TD will be, worked out from the files that it boots.

For a TD whose firmware (OVMF or TDVF) starts a Linux kernel with an EFI stub directly, as QEMU
does with ``-kernel``, ``-initrd`` and ``-append``. The events are those of the firmware and of
the stub, in their order; each extends its register by the SHA-384 of what it is about:

    RTMR1  the kernel (its Authenticode digest), "Calling EFI Application from Boot Option",
           the separator (four zero bytes), "Exit Boot Services Invocation",
           "Exit Boot Services Returned with Success"
    RTMR2  the command line (UTF-16, little-endian, with the final zero), the initrd's bytes

Sources: TCG PC Client Platform Firmware Profile, 8.2.4 and 10.4; Linux,
``drivers/firmware/efi/libstub``; EDK II, ``QemuKernelLoaderFsDxe``, which appends
`DIRECT_INITRD` to the command line when there is an initrd.

Not worked out: RTMR0 (it has the TD HOB, the ACPI tables and the boot variables, all of which
depend on the host's settings), and RTMR1 where the host's QEMU fills in the kernel's setup
header before the firmware sees it, as older versions do: the digest is of the changed bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .authenticode import measure_pe
from .measurement import Measurement

DIRECT_INITRD: Final = " initrd=initrd"
BOOT_EVENTS: Final = (
    b"Calling EFI Application from Boot Option",
    bytes(4),
    b"Exit Boot Services Invocation",
    b"Exit Boot Services Returned with Success",
)


def replay(digests: Iterable[bytes]) -> Measurement:
    """Return what a register holds that was extended by `digests`, one after the other."""
    register = Measurement.zero()
    for digest in digests:
        register = register.extend(digest)
    return register


def predict_rtmr1(kernel: bytes) -> Measurement:
    """Return RTMR1 of a TD that boots `kernel`. Raises `DecodeError`: it is no PE file."""
    return replay([measure_pe(kernel), *map(Measurement.of, BOOT_EVENTS)])


def predict_rtmr2(
    cmdline: str, initrd: bytes | None = None, *, is_verbatim: bool = False
) -> Measurement:
    """Return RTMR2 of a TD that boots with `cmdline` and `initrd`.

    Args:
        cmdline: The kernel's command line, without a final zero.
        initrd: The initial file system, None for none.
        is_verbatim: Whether the firmware hands the command line on as it is, without naming
            the initrd, as a boot loader does.
    """
    if initrd is not None and not is_verbatim:
        cmdline += DIRECT_INITRD
    digests = [Measurement.of((cmdline + "\0").encode("utf-16-le"))]
    if initrd is not None:
        digests.append(Measurement.of(initrd))
    return replay(digests)
