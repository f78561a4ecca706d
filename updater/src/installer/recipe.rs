//! A kickstart file on its way into an installation: fetched, its `%pre` run, read in full; and what it changes in `/etc`
//! of the new system.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use reqwest::Url;

use super::report::Report;
use super::words::Place;
use super::{medium, scripts};
use crate::birth::{self, EtcFile};
use crate::fetch::{Limits, Source};
use crate::kickstart::etc::{self, Content, Image};
use crate::kickstart::{self, Kickstart, Mac};

const CAP: u64 = 1 << 20;

/// Where the files of a kickstart come from.
pub struct Files<'a> {
    root: &'a Path,
    work: &'a Path,
    /// What is beside the first file.
    first: Place,
    /// The folder of a medium that is mounted; it stays so until the end.
    mounted: RefCell<Option<(String, super::target::Mounted)>>,
}

impl<'a> Files<'a> {
    pub fn new(first: Place, root: &'a Path, work: &'a Path) -> Self {
        Self {
            root,
            work,
            first,
            mounted: RefCell::new(None),
        }
    }

    /// Reads it as the installer does: `%pre` runs before the whole is read, for it may write what is included.
    pub fn read(&self, report: &Report) -> Result<Kickstart> {
        let name = name_of(&self.first);
        let text = self.text(&self.first)?;
        let pre = kickstart::pre_scripts(&name, &text, &mut |target| self.included(target))?;
        scripts::run(&pre, self.root, None, report)?;
        Ok(kickstart::parse(&name, &text, &mut |target| {
            self.included(target)
        })?)
    }

    /// By its whole name: the reader puts what lies beside a file there.
    fn included(&self, target: &str) -> Result<String> {
        self.text(&place_of(target)?)
    }

    fn text(&self, place: &Place) -> Result<String> {
        let bytes = match place {
            Place::Web(url) => Source::fetch_url(&url.parse::<Url>()?, CAP, Limits::default())?,
            Place::File(path) => read(&self.root.join(path.trim_start_matches('/')))?,
            Place::Medium { partition, path } => {
                read(&self.medium(partition)?.join(path.trim_start_matches('/')))?
            }
        };
        String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", name_of(place)))
    }

    fn medium(&self, partition: &str) -> Result<PathBuf> {
        let mut mounted = self.mounted.borrow_mut();
        if let Some((name, there)) = mounted.as_ref() {
            if name == partition {
                return Ok(there.at().to_owned());
            }
            bail!("{partition}: only files of {name} are included by a file of {name}");
        }
        let there = medium::mount(partition, &self.work.join("kickstart"))?;
        let at = there.at().to_owned();
        *mounted = Some((partition.to_owned(), there));
        Ok(at)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn name_of(place: &Place) -> String {
    match place {
        Place::Web(url) => url.clone(),
        Place::File(path) => path.clone(),
        // As the reader names what lies beside it.
        Place::Medium { partition, path } => format!("hd:{partition}:{path}"),
    }
}

/// Of a name as [`name_of`] makes it.
fn place_of(name: &str) -> Result<Place> {
    match name.starts_with('/') {
        true => Ok(Place::File(name.to_owned())),
        false => super::words::place(name),
    }
}

/// What a kickstart file does beside the installation itself; nothing where there is none.
pub struct Recipe<'a> {
    pub kickstart: Option<&'a Kickstart>,
    pub root: &'a Path,
    pub boot_card: Option<&'a Mac>,
    pub report: &'a Report,
}

impl Recipe<'_> {
    /// When the disk is partitioned.
    pub fn partitioned(&self) -> Result<()> {
        match self.kickstart {
            None => Ok(()),
            Some(kickstart) => {
                scripts::run(&kickstart.scripts.pre_install, self.root, None, self.report)
            }
        }
    }

    /// When the system is there, and nothing boots it yet.
    pub fn deployed(&self, tree: &Path, var: &Path) -> Result<()> {
        let Some(kickstart) = self.kickstart else {
            return Ok(());
        };
        for note in write_etc(tree, kickstart, self.boot_card)? {
            self.report.tell("note", &note);
        }
        let installed = scripts::Installed { tree, var };
        scripts::run(
            &kickstart.scripts.post,
            self.root,
            Some(&installed),
            self.report,
        )
    }
}

/// Writes into a deployment's folder what the file changes in `/etc`; returns what a person should know.
fn write_etc(tree: &Path, kickstart: &Kickstart, boot_card: Option<&Mac>) -> Result<Vec<String>> {
    let read = |path: &str| -> Result<Option<String>> {
        match fs::read_to_string(tree.join(path.trim_start_matches('/'))) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => Ok(Some(
                other.with_context(|| format!("reading {path} of the tree"))?,
            )),
        }
    };
    let has = |path: &str| {
        tree.join(path.trim_start_matches('/'))
            .symlink_metadata()
            .is_ok()
    };
    let image = Image {
        read: &read,
        has: &has,
    };
    let changes = etc::changes(kickstart, &image, boot_card)?;
    let mut own = Vec::new();
    for (path, content) in changes.files {
        match content {
            // The owner and the mode stay. Nothing else looks at it yet.
            Content::Edited(text) => {
                let path = tree.join("etc").join(path);
                fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            }
            Content::New { text, mode } => own.push(EtcFile::with_mode(&path, text, mode)),
            Content::Link(target) => own.push(EtcFile::link(&path, target)),
        }
    }
    birth::write(tree, &own)?;
    Ok(changes.notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_a_file_is_found_by_its_name() {
        let table = [
            (
                Place::Web("http://h/x/ks?a=b/c".into()),
                "p",
                Place::Web("http://h/x/p".into()),
            ),
            (Place::File("/x/ks".into()), "p", Place::File("/x/p".into())),
            (
                Place::File("/x/ks".into()),
                "http://h/p",
                Place::Web("http://h/p".into()),
            ),
            (
                Place::Medium {
                    partition: "LABEL=E".into(),
                    path: "/x/ks".into(),
                },
                "y/p",
                Place::Medium {
                    partition: "LABEL=E".into(),
                    path: "/x/y/p".into(),
                },
            ),
        ];
        for (first, target, expected) in table {
            let mut found = None;
            let text = format!("%include {target}\n");
            kickstart::parse(&name_of(&first), &text, &mut |name| {
                found = Some(place_of(name)?);
                Ok(String::new())
            })
            .unwrap();
            assert_eq!(found, Some(expected), "{first:?}");
        }
    }

    #[test]
    fn what_a_kickstart_file_says_outlives_a_reset() {
        let (tree, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for root in [&tree, &fresh] {
            fs::create_dir(root.path().join("etc")).unwrap();
        }
        let text = "network --bootproto=dhcp --hostname=node7\n";
        let kickstart = kickstart::parse("t.ks", text, &mut |_| bail!("none")).unwrap();
        write_etc(tree.path(), &kickstart, None).unwrap();
        birth::write_again(tree.path(), fresh.path()).unwrap();
        let name = fs::read_to_string(fresh.path().join("etc/hostname")).unwrap();
        assert_eq!(name, "node7\n");
    }
}
