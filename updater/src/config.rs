//! Settings: TOML fragments of three folders, merged by file name, then validated.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::fetch::{Limits, Location};
use crate::types::ChannelName;

/// The deadline of a trial where no setting says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(600);

/// Below the root; a later one wins over an earlier one.
const FOLDERS: [&str; 3] = ["usr/lib/edge-ota", "etc/edge-ota", "run/edge-ota"];

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("reading {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}, line {line}: {reason}", path.display())]
    Invalid {
        path: PathBuf,
        line: usize,
        reason: String,
    },
    #[error("no [source] url is set in any /etc/edge-ota/config.d/*.toml")]
    NoSource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub source: Source,
    pub trial: Trial,
    pub health: Health,
    pub network: Limits,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    url: Option<Location>,
    pub channel: ChannelName,
}

impl Source {
    pub fn url(&self) -> Result<&Location, ConfigError> {
        self.url.as_ref().ok_or(ConfigError::NoSource)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Boots without a verdict before the loader goes back.
    pub tries: Tries,
    /// A trial without a verdict by then is bad.
    pub deadline: Duration,
    /// How long a release rests whose tries were used up without a verdict.
    pub retry_delay: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Must be active.
    pub units: Vec<UnitName>,
    /// For one check program.
    pub check_timeout: Duration,
}

/// 1 to 9: the loader counts in one digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Tries(u8);

impl Tries {
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Tries {
    type Error = &'static str;

    fn try_from(n: u8) -> Result<Self, Self::Error> {
        match n {
            1..=9 => Ok(Self(n)),
            _ => Err("tries must be 1 to 9"),
        }
    }
}

impl From<Tries> for u8 {
    fn from(tries: Tries) -> u8 {
        tries.0
    }
}

/// A systemd unit with its suffix, `ssh.service`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct UnitName(String);

impl UnitName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UnitName {
    type Error = String;

    fn try_from(s: String) -> Result<Self, String> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
        let suffixed = s.rsplit_once('.').is_some_and(|(name, suffix)| {
            !name.is_empty() && !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_lowercase())
        });
        if suffixed && s.len() <= 255 && !s.starts_with('-') && s.bytes().all(known) {
            Ok(Self(s))
        } else {
            Err(format!("'{s}' is not a unit name such as ssh.service"))
        }
    }
}

/// Reads the fragments below `root`.
pub fn load(root: &Path) -> Result<Settings, ConfigError> {
    let mut merged = Fragment::default();
    for path in fragments(root)?.into_values() {
        let text = fs::read_to_string(&path).map_err(|e| unreadable(&path, e))?;
        merged.overlay(parse(&path, &text)?);
    }
    Ok(merged.settings())
}

/// Whether a fragment could be read; `path` is for the message.
pub fn check(path: &Path, text: &str) -> Result<(), ConfigError> {
    parse(path, text).map(drop)
}

/// File name -> the path that counts; masked ones are left out.
fn fragments(root: &Path) -> Result<BTreeMap<std::ffi::OsString, PathBuf>, ConfigError> {
    let mut found = BTreeMap::new();
    for folder in FOLDERS {
        let folder = root.join(folder).join("config.d");
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(|e| unreadable(&folder, e))?,
        };
        for entry in entries {
            let entry = entry.map_err(|e| unreadable(&folder, e))?;
            if entry.path().extension().is_some_and(|e| e == "toml") {
                found.insert(entry.file_name(), entry.path());
            }
        }
    }
    found.retain(|_, path| !is_mask(path));
    Ok(found)
}

fn is_mask(path: &Path) -> bool {
    matches!(fs::read_link(path), Ok(target) if target == Path::new("/dev/null"))
}

fn parse(path: &Path, text: &str) -> Result<Fragment, ConfigError> {
    toml::from_str(text).map_err(|e| {
        let before = e.span().and_then(|span| text.get(..span.start));
        ConfigError::Invalid {
            path: path.to_owned(),
            line: before.map_or(1, |text| text.matches('\n').count() + 1),
            reason: e.message().trim_end().replace('\n', ", "),
        }
    })
}

fn unreadable(path: &Path, source: io::Error) -> ConfigError {
    ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

/// What one file may say.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fragment {
    source: SourceFragment,
    trial: TrialFragment,
    health: HealthFragment,
    network: NetworkFragment,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SourceFragment {
    #[serde(deserialize_with = "parsed")]
    url: Option<Location>,
    channel: Option<ChannelName>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TrialFragment {
    tries: Option<Tries>,
    #[serde(deserialize_with = "duration")]
    deadline: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    retry_delay: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HealthFragment {
    units: Option<Vec<UnitName>>,
    #[serde(deserialize_with = "duration")]
    check_timeout: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NetworkFragment {
    #[serde(deserialize_with = "duration")]
    connect_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    stall_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    total_timeout: Option<Duration>,
}

impl Fragment {
    fn overlay(&mut self, over: Self) {
        set(&mut self.source.url, over.source.url);
        set(&mut self.source.channel, over.source.channel);
        set(&mut self.trial.tries, over.trial.tries);
        set(&mut self.trial.deadline, over.trial.deadline);
        set(&mut self.trial.retry_delay, over.trial.retry_delay);
        set(&mut self.health.units, over.health.units);
        set(&mut self.health.check_timeout, over.health.check_timeout);
        let (network, over) = (&mut self.network, over.network);
        set(&mut network.connect_timeout, over.connect_timeout);
        set(&mut network.stall_timeout, over.stall_timeout);
        set(&mut network.total_timeout, over.total_timeout);
    }

    fn settings(self) -> Settings {
        let limits = Limits::default();
        let or = |set: Option<Duration>, seconds| set.unwrap_or(Duration::from_secs(seconds));
        Settings {
            source: Source {
                url: self.source.url,
                channel: self.source.channel.unwrap_or_default(),
            },
            trial: Trial {
                tries: self.trial.tries.unwrap_or(Tries(3)),
                deadline: self.trial.deadline.unwrap_or(DEADLINE),
                retry_delay: or(self.trial.retry_delay, 3600),
            },
            health: Health {
                units: self.health.units.unwrap_or_default(),
                check_timeout: or(self.health.check_timeout, 60),
            },
            network: Limits {
                connect: self.network.connect_timeout.unwrap_or(limits.connect),
                stall: self.network.stall_timeout.unwrap_or(limits.stall),
                total: self.network.total_timeout.unwrap_or(limits.total),
            },
        }
    }
}

fn set<T>(value: &mut Option<T>, over: Option<T>) {
    if over.is_some() {
        *value = over;
    }
}

fn parsed<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr,
    T::Err: std::fmt::Display,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match humantime::parse_duration(&text) {
        Ok(Duration::ZERO) => Err(D::Error::custom("a duration of zero")),
        Ok(duration) => Ok(Some(duration)),
        Err(e) => Err(D::Error::custom(format!(
            "'{text}' is not a duration such as 10min: {e}"
        ))),
    }
}

#[cfg(test)]
mod tests;
