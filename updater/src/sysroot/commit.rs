//! What a commit object says of itself, and the signatures beside it: bytes that are hostile until they are
//! verified.

use anyhow::{Context, Result, bail};
use ostree::glib::{self, Variant, VariantDict, VariantTy};

const SIGNATURE_KEY: &str = "ostree.sign.ed25519";

/// What a commit says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitInfo {
    pub version: String,
    pub board: String,
    pub bootable: bool,
    pub timestamp: u64,
    pub kernel_size: u64,
    pub initramfs_size: u64,
    /// Every object of its tree.
    pub(super) objects: Vec<Object>,
}

/// An object of a repository, with its sizes in an archive and unpacked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    pub kind: ObjectKind,
    pub checksum: String,
    pub archived: u64,
    pub unpacked: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    File,
    DirTree,
    DirMeta,
}

impl CommitInfo {
    /// Reads a raw commit object. Everything in it is hostile until its signature was checked.
    pub fn from_raw(raw: &[u8]) -> Result<Self> {
        Self::from_variant(&typed(raw, "(a{sv}aya(say)sstayay)")?)
    }

    pub(super) fn from_variant(variant: &Variant) -> Result<Self> {
        let metadata = VariantDict::new(Some(&variant.child_value(0)));
        let text = |key: &str| {
            metadata
                .lookup::<String>(key)
                .ok()
                .flatten()
                .unwrap_or_default()
        };
        let number = |key: &str| metadata.lookup::<u64>(key).ok().flatten().unwrap_or(0);
        let timestamp = variant
            .child_value(5)
            .get::<u64>()
            .map(u64::from_be)
            .context("a commit without a time")?;
        let objects = match metadata.lookup_value("ostree.sizes", None) {
            Some(sizes) => parse_sizes(&sizes)?,
            None => Vec::new(),
        };
        Ok(Self {
            version: text("version"),
            board: text("edge-ota.board"),
            bootable: metadata
                .lookup::<bool>("ostree.bootable")
                .ok()
                .flatten()
                .unwrap_or(false),
            timestamp,
            kernel_size: number("edge-ota.kernel-size"),
            initramfs_size: number("edge-ota.initramfs-size"),
            objects,
        })
    }

    pub fn has_sizes(&self) -> bool {
        !self.objects.is_empty()
    }

    /// Bytes of the whole tree on a disk, in blocks.
    pub fn disk_bytes(&self) -> u64 {
        let blocks = |object: &Object| object.unpacked.saturating_add(4095) / 4096 * 4096;
        self.objects.iter().map(blocks).fold(0, u64::saturating_add)
    }
}

/// `ostree.sizes`: an array of byte arrays, each 32 bytes of checksum, the archived and the unpacked
/// size as LEB128 numbers, and the object type (ostree-core.h: 1 file, 2 dirtree, 3 dirmeta, 4 commit).
fn parse_sizes(sizes: &Variant) -> Result<Vec<Object>> {
    let entries: Vec<Vec<u8>> = sizes.get().context("ostree.sizes is malformed")?;
    let parse = |entry: &[u8]| -> Option<Option<Object>> {
        let (checksum, rest) = entry.split_at_checked(32)?;
        let (archived, rest) = leb128(rest)?;
        let (unpacked, rest) = leb128(rest)?;
        let kind = match rest.first() {
            None | Some(1) => ObjectKind::File,
            Some(2) => ObjectKind::DirTree,
            Some(3) => ObjectKind::DirMeta,
            Some(_) => return Some(None),
        };
        Some(Some(Object {
            checksum: crate::boot::records::hex(checksum),
            kind,
            archived,
            unpacked,
        }))
    };
    let mut objects = Vec::with_capacity(entries.len());
    for entry in &entries {
        objects.extend(parse(entry).context("ostree.sizes is malformed")?);
    }
    Ok(objects)
}

fn leb128(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(i).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(i + 1..)?));
        }
    }
    None
}

/// The signatures in a commit's detached metadata.
pub fn detached_signatures(detached: &[u8]) -> Result<Vec<Vec<u8>>> {
    let dict = VariantDict::new(Some(&typed(detached, "a{sv}")?));
    match dict.lookup_value(SIGNATURE_KEY, Some(VariantTy::new("aay")?)) {
        Some(value) => value
            .get()
            .with_context(|| format!("{SIGNATURE_KEY} is malformed")),
        None => Ok(Vec::new()),
    }
}

pub(super) fn typed(bytes: &[u8], ty: &str) -> Result<Variant> {
    let ty = VariantTy::new(ty)?;
    let variant = Variant::from_bytes_with_type(&glib::Bytes::from(bytes), ty);
    if !variant.is_normal_form() {
        bail!("not a well-formed value of type {ty}");
    }
    Ok(variant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leb128_reads_what_libostree_writes() {
        let check = |bytes: &[u8], expected: Option<(u64, usize)>| {
            assert_eq!(
                leb128(bytes).map(|(v, rest)| (v, rest.len())),
                expected,
                "{bytes:?}"
            );
        };
        check(&[0x05], Some((5, 0)));
        check(&[0x80, 0x01, 0xff], Some((128, 1)));
        check(&[0x80], None);
        check(&[0xff; 11], None);
        check(&[], None);
    }

    #[test]
    fn hostile_metadata_is_an_error() {
        assert!(detached_signatures(b"garbage").is_err());
        assert!(CommitInfo::from_raw(&[0xff; 100]).is_err());
        assert_eq!(detached_signatures(b"").unwrap(), Vec::<Vec<u8>>::new());
    }
}
