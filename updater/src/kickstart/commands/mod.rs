//! What each command means. The tables are the list of what is read, of what has no effect here, and of what is refused.

mod accounts;
mod check;
mod disks;
mod firewall;
mod installer;
mod network;
mod refused;
mod source;
mod system;

use super::options::{Args, Grammar, Words};
use super::{At, Kickstart, Mistake};

pub use check::check;

pub struct Command {
    pub name: &'static str,
    pub meaning: Meaning,
}

pub enum Meaning {
    Read {
        grammar: &'static Grammar,
        times: Times,
        read: fn(&mut Kickstart, &Args) -> Result<(), String>,
    },
    /// Fine in a file for several installers.
    NoEffect(&'static Grammar),
    /// Why, and what to do.
    Refused(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    Many,
    /// Commands that say the same share a name.
    Once(&'static str),
}

const NOTHING: Grammar = Grammar {
    options: &[],
    words: Words::None,
};

pub fn all() -> impl Iterator<Item = &'static Command> {
    let tables: [&[Command]; 8] = [
        source::COMMANDS,
        disks::COMMANDS,
        network::COMMANDS,
        accounts::COMMANDS,
        system::COMMANDS,
        firewall::COMMANDS,
        installer::COMMANDS,
        refused::COMMANDS,
    ];
    tables.into_iter().flatten()
}

/// A file in the making.
#[derive(Debug, Default)]
pub struct Draft {
    pub kickstart: Kickstart,
    /// Where each command is, by its name.
    pub places: Vec<(&'static str, At)>,
}

impl Draft {
    pub fn command(&mut self, at: &At, name: &str, words: &[String]) -> Result<(), String> {
        let Some(command) = all().find(|command| command.name == name) else {
            return Err(format!(
                "unknown command '{name}': docs/provisioning/kickstart.md lists those that are read"
            ));
        };
        match &command.meaning {
            Meaning::Refused(reason) => return Err(format!("{name}: {reason}")),
            Meaning::NoEffect(grammar) => {
                Args::read(words, grammar).map_err(|reason| format!("{name}: {reason}"))?;
            }
            Meaning::Read {
                grammar,
                times,
                read,
            } => {
                self.check_times(name, *times)?;
                Args::read(words, grammar)
                    .and_then(|args| read(&mut self.kickstart, &args))
                    .map_err(|reason| format!("{name}: {reason}"))?;
            }
        }
        self.places.push((command.name, at.clone()));
        Ok(())
    }

    pub fn place(&self, name: &str) -> Option<&At> {
        let mut places = self.places.iter();
        places.find(|(known, _)| *known == name).map(|(_, at)| at)
    }

    fn check_times(&self, name: &str, times: Times) -> Result<(), String> {
        let Times::Once(_) = times else { return Ok(()) };
        let same = |other: &&(&'static str, At)| {
            let known = all().find(|command| command.name == other.0);
            matches!(known.map(|c| &c.meaning), Some(Meaning::Read { times: t, .. }) if *t == times)
        };
        match self.places.iter().find(same) {
            Some((other, at)) => Err(format!("{name}: there is a line '{other}' already, {at}")),
            None => Ok(()),
        }
    }

    fn mistake(&self, command: &str, message: String) -> Mistake {
        let at = self.place(command).cloned().unwrap_or_default();
        Mistake { at, message }
    }
}

#[cfg(test)]
mod tests;
