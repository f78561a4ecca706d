//! The keys of a treefile: how each looks, how an including file's goes together with an included one's, and what
//! becomes of it here.

/// How a value looks; how two of them merge follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value; the including file's wins.
    Text,
    Truth,
    Number,
    /// A number or a text.
    Version,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Keys and values of one thing; the including file's wins whole.
    Object,
    /// A list; the included file's comes first.
    Texts,
    /// As [`Shape::Texts`]; an entry holds several words.
    Words,
    /// As [`Shape::Texts`]; each entry is a pair.
    Pairs,
    /// As [`Shape::Texts`]; each entry is a list.
    Lists,
    /// As [`Shape::Texts`]; each entry has keys and values.
    Objects,
    /// Names without an order, each once.
    Set,
    /// As [`Shape::Set`]; an entry holds several names, or one between single quotes.
    Packages,
    /// Merged key by key.
    Map,
    /// Read before anything is merged.
    Include,
}

/// What a compose makes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// What it says.
    Done,
    /// This value is how it is anyway; for another the reason why not.
    Only(&'static str, &'static str),
    /// The reason why not.
    Never(&'static str),
    /// What it says, in a tree of RPMs; in one of Debian's packages nothing but this value is possible.
    Rpms(&'static str),
}

#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    /// An older form with an underscore.
    pub alias: Option<&'static str>,
    pub shape: Shape,
    pub here: Here,
}

const fn done(name: &'static str, shape: Shape) -> Key {
    let (alias, here) = (None, Here::Done);
    Key {
        name,
        alias,
        shape,
        here,
    }
}

const fn only(
    name: &'static str,
    shape: Shape,
    value: &'static str,
    otherwise: &'static str,
) -> Key {
    Key {
        here: Here::Only(value, otherwise),
        ..done(name, shape)
    }
}

const fn never(name: &'static str, shape: Shape, why: &'static str) -> Key {
    Key {
        here: Here::Never(why),
        ..done(name, shape)
    }
}

const fn rpms(name: &'static str, shape: Shape, of_debian: &'static str) -> Key {
    Key {
        here: Here::Rpms(of_debian),
        ..done(name, shape)
    }
}

const fn also(alias: &'static str, key: Key) -> Key {
    Key {
        alias: Some(alias),
        ..key
    }
}

/// Why a key of [`Here::Rpms`] is refused.
pub const OF_RPMS: &str = "it is about trees of RPMs, and this one is of Debian's packages: its 'repos' name no .repo file";
const NO_SELINUX: &str =
    "no tree is labelled here; Debian's packages bring no policy that covers a whole host";
const NO_METADATA: &str = "what a tree is made of is in its lock and its SBOM";
const METADATA: &[&str] = &["inline", "detached", "disabled"];

/// The keys at the top: those of rpm-ostree (docs/treefile.md there), and `edge`.
pub const TOP: &[Key] = &[
    // identity
    done("ref", Shape::Text),
    done("edition", Shape::Choice(&["2014", "2024"])),
    done("metadata", Shape::Map),
    done("releasever", Shape::Version),
    done("variables", Shape::Map),
    done("basearch", Shape::Text),
    also(
        "automatic_version_prefix",
        done("automatic-version-prefix", Shape::Text),
    ),
    done("automatic-version-suffix", Shape::Text),
    done("mutate-os-release", Shape::Text),
    done("add-commit-metadata", Shape::Map),
    also(
        "gpg_key",
        never(
            "gpg-key",
            Shape::Text,
            "commits are signed with ed25519 by the key in --keys",
        ),
    ),
    never(
        "rojig",
        Shape::Object,
        "rpm-ostree itself no longer makes rojig RPMs",
    ),
    // composition
    done("include", Shape::Include),
    done("arch-include", Shape::Include),
    done("conditional-include", Shape::Include),
    // sources
    done("packages", Shape::Packages),
    done("bootstrap_packages", Shape::Packages),
    done("exclude-packages", Shape::Texts),
    done("recommends", Shape::Truth),
    done("documentation", Shape::Truth),
    done("install-langs", Shape::Texts),
    done("repos", Shape::Texts),
    rpms("lockfile-repos", Shape::Texts, ""),
    rpms("repovars", Shape::Map, ""),
    rpms("repo-packages", Shape::Objects, ""),
    never(
        "platform-module",
        Shape::Text,
        "modules of RPM repositories are not read",
    ),
    never(
        "ostree-layers",
        Shape::Texts,
        "a tree is made of packages and add-files only",
    ),
    never(
        "ostree-override-layers",
        Shape::Texts,
        "a tree is made of packages and add-files only",
    ),
    // layout
    also(
        "boot_location",
        only(
            "boot-location",
            Shape::Choice(&["new", "modules", "kernel-install"]),
            "modules",
            "the kernel is in /usr/lib/modules only, where the boot files are copied from",
        ),
    ),
    only(
        "tmp-is-dir",
        Shape::Truth,
        "true",
        "/tmp is a folder, /sysroot is not writable",
    ),
    only(
        "opt-usrlocal",
        Shape::Choice(&["var", "root", "state-overlay"]),
        "var",
        "/opt and /usr/local belong to the machine, in /var",
    ),
    only(
        "machineid-compat",
        Shape::Truth,
        "true",
        "without /etc/machine-id each slot's first boot would ask questions on the console and enable every preset",
    ),
    done("readonly-executables", Shape::Truth),
    only(
        "container",
        Shape::Truth,
        "false",
        "a tree without a kernel boots nowhere",
    ),
    never(
        "container-cmd",
        Shape::Texts,
        "a tree is no container image",
    ),
    only(
        "cliwrap",
        Shape::Truth,
        "false",
        "there is no rpm to wrap; rpm-ostree gives it up too",
    ),
    never("cliwrap-binaries", Shape::Texts, "there is no rpm to wrap"),
    only(
        "ignore-devices",
        Shape::Truth,
        "true",
        "a tree holds no device nodes",
    ),
    // security
    only("selinux", Shape::Truth, "false", NO_SELINUX),
    only("selinux-label-version", Shape::Number, "0", NO_SELINUX),
    only(
        "ima",
        Shape::Truth,
        "false",
        "signatures of single files are not kept",
    ),
    // users
    done("etc-group-members", Shape::Texts),
    done("preserve-passwd", Shape::Truth),
    done("check-passwd", Shape::Object),
    done("check-groups", Shape::Object),
    done("ignore-removed-users", Shape::Set),
    done("ignore-removed-groups", Shape::Set),
    never(
        "sysusers",
        Shape::Choice(&["compose-auto", "compose-forced"]),
        "users are made by the packages' own scripts",
    ),
    // systemd
    done("units", Shape::Texts),
    also("default_target", done("default-target", Shape::Text)),
    done("initramfs-args", Shape::Texts),
    only(
        "no-initramfs",
        Shape::Truth,
        "false",
        "the initramfs finds the deployment and its /usr",
    ),
    // content
    done("add-files", Shape::Pairs),
    done("remove-files", Shape::Texts),
    done("remove-from-packages", Shape::Lists),
    done("postprocess", Shape::Texts),
    done("postprocess-script", Shape::Text),
    // rpm metadata
    rpms("rpmdb", Shape::Choice(&["target", "host", "sqlite"]), ""),
    rpms("rpmdb-normalize", Shape::Truth, "false"),
    only(
        "repo-metadata",
        Shape::Choice(METADATA),
        "disabled",
        NO_METADATA,
    ),
    only(
        "advisories-metadata",
        Shape::Choice(METADATA),
        "disabled",
        NO_METADATA,
    ),
];

/// The keys under `edge`, by their whole name.
pub const EDGE: &[Key] = &[
    done("edge.suites", Shape::Objects),
    done("edge.initramfs", Shape::Text),
    done("edge.sysctls", Shape::Map),
    done("edge.kernel-arguments", Shape::Texts),
    done("edge.kernel-options", Shape::Texts),
    done("edge.kernel-min-version", Shape::Version),
    done("edge.kernel-modules", Shape::Words),
    done("edge.modules-load", Shape::Texts),
    done("edge.health-units", Shape::Texts),
];

/// What the keys under `edge` begin with.
pub const NAMESPACE: &str = "edge";

pub const SUITE: &[&str] = &["suite", "components", "mirror", "signed-by"];

/// The architectures of `packages-<arch>` and `arch-include`, as rpm-ostree and RPM call them.
pub const ARCHITECTURES: &[&str] = &[
    "x86_64", "aarch64", "armv7hl", "armhfp", "i386", "i686", "ppc64le", "riscv64", "s390x",
];

pub fn all() -> impl Iterator<Item = &'static Key> {
    TOP.iter().chain(EDGE)
}

/// A key by its name or its older form.
pub fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name || key.alias == Some(name))
}

/// What may stand at the top.
pub fn top_names() -> Vec<&'static str> {
    let names = TOP.iter().map(|key| key.name);
    names.chain([NAMESPACE]).collect()
}

/// What may stand under `edge`.
pub fn edge_names() -> Vec<&'static str> {
    let names = EDGE.iter();
    names
        .filter_map(|key| key.name.strip_prefix("edge."))
        .collect()
}

/// One line on an unknown key, with the nearest known one when it is close.
pub fn unknown(key: &str, known: &[&str]) -> String {
    let best = known.iter().map(|k| (distance(key, k), *k)).min();
    match best {
        Some((far, near)) if far <= 1 + near.len() / 4 => {
            format!("unknown key '{key}' (did you mean '{near}'?)")
        }
        _ => format!("unknown key '{key}' (known: {})", known.join(", ")),
    }
}

/// Levenshtein's distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for ((to, diagonal), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(from != *to))
                .min(above + 1)
                .min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let table = [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("pakages", "packages", 1),
            ("unit", "units", 1),
        ];
        for (a, b, expected) in table {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_a_close_key_is_suggested() {
        assert_eq!(
            unknown("pakages", &top_names()),
            "unknown key 'pakages' (did you mean 'packages'?)"
        );
        let error = unknown("nothing-like-it", &edge_names());
        assert!(error.contains("known: suites"), "{error}");
    }

    #[test]
    fn no_key_is_there_twice() {
        let mut names: Vec<&str> = all()
            .flat_map(|key| [Some(key.name), key.alias])
            .flatten()
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
