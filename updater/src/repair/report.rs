//! What a check found and what became of it.

use serde::Serialize;

use crate::exit::Stop;
use crate::fetch::FetchError;
use crate::sysroot::{Object, ObjectKind};
use crate::types::Slot;

#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// How many objects were read.
    pub objects: usize,
    pub findings: Vec<Finding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    /// A checksum, a path in the tree, or the name of a record.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The server could not be read; later it may be.
    #[serde(skip)]
    pub waits: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Commit,
    /// A file, of whatever path, in the repository.
    Object,
    /// A folder of the repository, or what it says of itself.
    Folder,
    /// A file of a deployment.
    File,
    BootFiles,
    SlotFile,
    /// Of the boot loader.
    Record,
    /// A program or script of the boot loader.
    Loader,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing was done about it.
    Damaged,
    Repaired,
    /// Why it could not be repaired.
    Remains(String),
    /// No damage, but worth a look.
    Differs(String),
}

impl Report {
    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
    }

    pub fn repaired(&self) -> usize {
        self.count(|outcome| *outcome == Outcome::Repaired)
    }

    /// Whether a file that runs was replaced: whoever had it open has the old one until the next boot.
    pub fn wants_reboot(&self, booted: Option<Slot>) -> bool {
        self.findings.iter().any(|finding| {
            finding.kind == Kind::File
                && finding.slot == booted
                && finding.outcome == Outcome::Repaired
        })
    }

    pub fn waits_for_server(&self) -> bool {
        self.findings.iter().any(|finding| finding.waits)
    }

    /// How the command ends.
    pub fn verdict(&self) -> Result<(), Stop> {
        let remaining = self.count(|outcome| matches!(outcome, Outcome::Remains(_)));
        let damaged = self.count(|outcome| *outcome == Outcome::Damaged);
        match (remaining, damaged) {
            (0, 0) => Ok(()),
            (0, _) => Err(Stop::Damaged(damaged)),
            (_, _) => Err(Stop::Unrepaired(remaining)),
        }
    }

    /// A line a finding.
    pub fn to_text(&self) -> String {
        let lines = self.findings.iter().map(Finding::to_line);
        let sum = match self.findings.is_empty() {
            true => format!("{} objects checked: nothing is damaged\n", self.objects),
            false => format!("{} objects checked\n", self.objects),
        };
        lines.chain([sum]).collect()
    }

    fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.findings.iter().filter(|f| which(&f.outcome)).count()
    }
}

impl Finding {
    pub fn damaged(kind: Kind, name: impl Into<String>, slot: Option<Slot>) -> Self {
        Self {
            kind,
            name: name.into(),
            slot,
            outcome: Outcome::Damaged,
            waits: false,
        }
    }

    pub fn of_object(object: &Object) -> Self {
        let kind = match object.kind {
            ObjectKind::File => Kind::Object,
            ObjectKind::DirTree | ObjectKind::DirMeta => Kind::Folder,
        };
        Self::damaged(kind, &object.checksum, None)
    }

    /// What became of it.
    pub fn after(self, done: anyhow::Result<()>) -> Self {
        let (outcome, waits) = match done {
            Ok(()) => (Outcome::Repaired, false),
            Err(error) => {
                let cause = error.downcast_ref();
                let waits = matches!(cause, Some(FetchError::Network { .. }));
                (Outcome::Remains(format!("{error:#}")), waits)
            }
        };
        Self {
            outcome,
            waits,
            ..self
        }
    }

    fn to_line(&self) -> String {
        let what = match self.kind {
            Kind::Commit => "commit",
            Kind::Object => "object",
            Kind::Folder => "folder object",
            Kind::File => "file",
            Kind::BootFiles => "boot files",
            Kind::SlotFile => "slot file",
            Kind::Record => "record",
            Kind::Loader => "boot loader",
        };
        let slot = self
            .slot
            .map_or(String::new(), |slot| format!(" of slot {slot}"));
        let outcome = match &self.outcome {
            Outcome::Damaged => "damaged or missing".to_owned(),
            Outcome::Repaired => "repaired".to_owned(),
            Outcome::Remains(why) => format!("not repaired: {why}"),
            Outcome::Differs(how) => how.clone(),
        };
        format!("{what} {}{slot}: {outcome}\n", self.name)
    }
}
