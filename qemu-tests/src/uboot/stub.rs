//! What takes the place of a kernel and of a device tree: enough for U-Boot to take them, and to tell which
//! ones it took.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use edge_ota::cmd::Cmd;

/// Where the name lies in the stub, and where the stub ends.
const NAME_AT: usize = 0x100;
const SIZE: usize = 0x200;

/// A zImage (Linux, Documentation/arch/arm/booting.rst: magic number at 0x24, start and end after it) for QEMU's
/// `virt` machine: prints `edge-kernel=<name>`, the device tree's strings that begin with `ro??.P` (`root=P`) or
/// `e???-t` (`edge-t`), the line at 0x44000000 where U-Boot puts the initramfs, and switches off.
pub fn kernel(name: &str) -> Result<Vec<u8>> {
    let mut image: Vec<u8> = CODE.into_iter().flat_map(u32::to_le_bytes).collect();
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
const CODE: [u32; 55] = [
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
