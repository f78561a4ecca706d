//! Text to [`Kickstart`], and the scripts that run before it is read in full.

use anyhow::Result;

use super::commands::{self, Draft};
use super::lines::{self, Includer, Item, Line, Lines, Wanted};
use super::options::{Args, Grammar, Takes::*, Words};
use super::{At, Kickstart, Mistake, Mistakes, RunsIn, Script};

/// Reads a file; `include` gives the text of a file or URL that it names. All mistakes are found at once.
pub fn parse(
    name: &str,
    text: &str,
    include: &mut dyn FnMut(&str) -> Result<String>,
) -> Result<Kickstart, Mistakes> {
    let mut whole = |wanted: &Wanted| match include(wanted.target) {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(format!("{error:#}")),
    };
    let (draft, mistakes) = draft(name, text, &mut whole)?;
    match mistakes.is_empty() {
        true => Ok(draft.kickstart),
        false => Err(Mistakes(mistakes)),
    }
}

/// The `%pre` scripts of a file, run before [`parse`]: they may write what the rest includes, so that what cannot be
/// included yet is left out. Lines with mistakes are found here already, before anything runs.
pub fn pre_scripts(
    name: &str,
    text: &str,
    include: &mut dyn FnMut(&str) -> Result<String>,
) -> Result<Vec<Script>, Mistakes> {
    let mut what_there_is = |wanted: &Wanted| match (include(wanted.target), wanted.section) {
        (Ok(text), _) => Ok(Some(text)),
        (Err(error), "%pre") => Err(format!("{error:#}")),
        (Err(_), _) => Ok(None),
    };
    let (draft, _) = draft(name, text, &mut what_there_is)?;
    Ok(draft.kickstart.scripts.pre)
}

/// What the lines say, and what is wrong with them together; an error where single lines are wrong.
fn draft(
    name: &str,
    text: &str,
    include: &mut Includer,
) -> Result<(Draft, Vec<Mistake>), Mistakes> {
    let Lines {
        items,
        mut mistakes,
        files,
    } = lines::read(name, text, include);
    let mut draft = Draft::default();
    for item in items {
        let at = item.at().clone();
        if let Err(message) = take(&mut draft, item) {
            mistakes.push(Mistake { at, message });
        }
    }
    let order = |m: &Mistake| (files.iter().position(|file| *file == m.at.file), m.at.line);
    mistakes.sort_by_key(order);
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    let mut together = commands::check(&draft);
    together.sort_by_key(order);
    Ok((draft, together))
}

impl Item {
    fn at(&self) -> &At {
        match self {
            Item::Command(line) => &line.at,
            Item::Section { header, .. } => &header.at,
        }
    }
}

fn take(draft: &mut Draft, item: Item) -> Result<(), String> {
    match item {
        Item::Command(line) => draft.command(&line.at, &line.name, &line.words),
        Item::Section { header, body } => section(draft, header, body),
    }
}

const SCRIPT: Grammar = Grammar {
    options: &[
        ("--interpreter", Value),
        ("--erroronfail", Nothing),
        ("--log", Value),
        ("--logfile", Value),
    ],
    words: Words::None,
};

const POST: Grammar = Grammar {
    options: &[
        ("--interpreter", Value),
        ("--erroronfail", Nothing),
        ("--log", Value),
        ("--logfile", Value),
        ("--nochroot", Nothing),
    ],
    words: Words::None,
};

fn section(draft: &mut Draft, header: Line, body: String) -> Result<(), String> {
    let scripts = &mut draft.kickstart.scripts;
    let (to, grammar, runs_in) = match header.name.as_str() {
        "%pre" => (&mut scripts.pre, &SCRIPT, RunsIn::Installer),
        "%pre-install" => (&mut scripts.pre_install, &SCRIPT, RunsIn::Installer),
        "%post" => (&mut scripts.post, &POST, RunsIn::System),
        "%onerror" => (&mut scripts.on_error, &SCRIPT, RunsIn::Installer),
        name => return Err(refusal(name)),
    };
    let script = Args::read(&header.words, grammar)
        .and_then(|args| script(header.at, body, &args, runs_in))
        .map_err(|reason| format!("{}: {reason}", header.name))?;
    // A script without a line does nothing; nobody has to start it.
    if !script.text.trim().is_empty() {
        to.push(script);
    }
    Ok(())
}

fn refusal(section: &str) -> String {
    let reason = match section {
        "%packages" => "the system is a commit that ostreesetup names, with all its packages in it",
        "%addon" | "%anaconda" => "it is for Anaconda alone",
        "%certificate" => "certificates are part of the image: add the file in the treefile",
        "%traceback" => "%onerror is what runs after a failure",
        _ => "unknown section: there are %pre %pre-install %post %onerror",
    };
    format!("{section}: {reason}")
}

fn script(at: At, text: String, args: &Args, runs_in: RunsIn) -> Result<Script, String> {
    let log = args.at_most_one(&["--log", "--logfile"])?;
    let log = log.and_then(|name| args.value(name));
    let interpreter = args.value("--interpreter").unwrap_or("/bin/sh");
    for (what, path) in [("--interpreter", Some(interpreter)), ("--log", log)] {
        if path.is_some_and(|path| !path.starts_with('/') || path.contains(char::is_whitespace)) {
            return Err(format!("{what}: one path that begins with / is needed"));
        }
    }
    Ok(Script {
        at,
        interpreter: interpreter.to_owned(),
        text,
        error_on_fail: args.has("--erroronfail"),
        log: log.map(str::to_owned),
        runs_in: match args.has("--nochroot") {
            true => RunsIn::Installer,
            false => runs_in,
        },
    })
}

#[cfg(test)]
mod tests;
