//! What takes the place of a kernel and of a device tree: enough for U-Boot to take them, and to tell which
//! ones it took.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use edge_ota::cmd::Cmd;

use super::Cpu;

/// Where the name lies in the stub, and where the stub ends.
const NAME_AT: usize = 0x100;
const SIZE: usize = 0x200;

/// A kernel for QEMU's `virt` machine: prints `edge-kernel=<name>`, the device tree's strings that begin with
/// `r???=P` (`root=P`; `ro??.P` on ARMv7) or `e???-t` (`edge-t`), the text at 0x44000000 where U-Boot puts the
/// initramfs, and switches off. Headers: Linux, Documentation/arch/arm/booting.rst (magic number at 0x24, start
/// and end after it) and Documentation/arch/arm64/booting.rst (size at 0x10, flags, magic number at 0x38).
pub fn kernel(cpu: Cpu, name: &str) -> Result<Vec<u8>> {
    let code: &[u32] = match cpu {
        Cpu::Armv7 => &ARMV7,
        Cpu::Armv8 => &ARMV8,
    };
    let mut image: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    let text = format!("edge-kernel={name}\0");
    ensure!(NAME_AT + text.len() <= SIZE, "the name is too long");
    image.resize(NAME_AT, 0);
    image.extend(text.as_bytes());
    image.resize(SIZE, 0);
    Ok(image)
}

/// A device tree with the string `edge-tree=<name>`. U-Boot adds the command line and the memory.
pub fn device_tree(name: &str, work: &Path) -> Result<Vec<u8>> {
    let (source, blob) = (work.join("tree.dts"), work.join("tree.dtb"));
    let text = format!(
        "/dts-v1/;\n/ {{ model = \"edge-tree={name}\"; #address-cells = <2>; #size-cells = <2>;\n\
         memory@40000000 {{ device_type = \"memory\"; reg = <0 0x40000000 0 0x20000000>; }}; chosen {{}}; }};\n"
    );
    fs::write(&source, text)?;
    Cmd::new("dtc")
        .args(["-I", "dts", "-O", "dtb", "-o"])
        .arg(&blob)
        .arg(&source)
        .run()?;
    fs::read(&blob).context("reading the device tree")
}

#[rustfmt::skip]
const ARMV7: [u32; 55] = [
    0xea00000a, // b start
    0, 0, 0, 0, 0, 0, 0, 0,
    0x016f2818, 0, SIZE as u32,
    // start: r4 is the serial port's data register; r2 the device tree
    0xe3004000, 0xe3404900, // mov r4, #0x09000000
    0xe24f0010, // adr r0, start
    0xe28000d0, // add r0, r0, #0xd0, NAME_AT
    0xeb00001f, // bl line
    0xe5925004, // ldr r5, [r2, #4]
    0xe6bf5f35, // rev r5, r5
    0xe0855002, // add r5, r5, r2
    // scan:
    0xe1520005, // cmp r2, r5
    0x2a000013, // bhs done
    0xe5d21000, // ldrb r1, [r2]
    0xe3510072, // cmp r1, #'r'
    0x05d21001, // ldrbeq r1, [r2, #1]
    0x0351006f, // cmpeq r1, #'o'
    0x05d21005, // ldrbeq r1, [r2, #5]
    0x03510050, // cmpeq r1, #'P'
    0x0a000008, // beq found
    0xe5d21000, // ldrb r1, [r2]
    0xe3510065, // cmp r1, #'e'
    0x05d21004, // ldrbeq r1, [r2, #4]
    0x0351002d, // cmpeq r1, #'-'
    0x05d21005, // ldrbeq r1, [r2, #5]
    0x03510074, // cmpeq r1, #'t'
    0x0a000001, // beq found
    0xe2822001, // add r2, r2, #1
    0xeaffffed, // b scan
    // found:
    0xe1a00002, // mov r0, r2
    0xeb000008, // bl line
    0xe1a02000, // mov r2, r0
    0xeaffffe9, // b scan
    // done:
    0xe3000000, 0xe3440400, // mov r0, #0x44000000
    0xeb000003, // bl line
    0xe3000008, 0xe3480400, // mov r0, #0x84000008, PSCI's SYSTEM_OFF
    0xe1400070, // hvc #0
    0xeafffffe, // b .
    // line: prints the string at r0, leaves r0 after its end
    0xe4d01001, // ldrb r1, [r0], #1
    0xe3510000, // cmp r1, #0
    0x03a0100a, // moveq r1, #'\n'
    0xe5841000, // str r1, [r4]
    0x1afffffa, // bne line
    0xe12fff1e, // bx lr
];

#[rustfmt::skip]
const ARMV8: [u32; 58] = [
    0x14000010, // b start
    0, 0, 0,
    SIZE as u32, 0, 0xa, 0,
    0, 0, 0, 0, 0, 0,
    0x644d5241, 0,
    // start: x4 is the serial port's data register; x2 the device tree
    0xd2a12004, // mov x4, #0x9000000
    0xaa0003e2, // mov x2, x0
    0x10ffffc0, // adr x0, start
    0x91030000, // add x0, x0, #0xc0, NAME_AT
    0x9400001f, // bl line
    0xb9400445, // ldr w5, [x2, #4]
    0x5ac008a5, // rev w5, w5
    0x8b0200a5, // add x5, x5, x2
    // scan:
    0xeb05005f, // cmp x2, x5
    0x54000282, // b.hs done
    0x39400041, // ldrb w1, [x2]
    0x39401046, // ldrb w6, [x2, #4]
    0x39401447, // ldrb w7, [x2, #5]
    0x2a062021, // orr w1, w1, w6, lsl #8
    0x2a074021, // orr w1, w1, w7, lsl #16
    0x5287ae43, 0x72a00a03, // mov w3, 'r' '=' 'P'
    0x6b03003f, // cmp w1, w3
    0x540000e0, // b.eq found
    0x5285aca3, 0x72a00e83, // mov w3, 'e' '-' 't'
    0x6b03003f, // cmp w1, w3
    0x54000060, // b.eq found
    0x91000442, // add x2, x2, #1
    0x17fffff0, // b scan
    // found:
    0xaa0203e0, // mov x0, x2
    0x94000009, // bl line
    0xaa0003e2, // mov x2, x0
    0x17ffffec, // b scan
    // done:
    0xd2a88000, // mov x0, #0x44000000
    0x94000005, // bl line
    0x52800100, 0x72b08000, // mov w0, #0x84000008, PSCI's SYSTEM_OFF
    0xd4000002, // hvc #0
    0x14000000, // b .
    // line: prints the string at x0, leaves x0 after its end
    0x38401401, // ldrb w1, [x0], #1
    0x52800143, // mov w3, #'\n'
    0x7100003f, // cmp w1, #0
    0x1a810063, // csel w3, w3, w1, eq
    0xb9000083, // str w3, [x4]
    0x54ffff61, // b.ne line
    0xd65f03c0, // ret
];
