//! Units as links, as `systemctl enable` and `systemctl mask` make them.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::{Content, Files, Image};
use crate::kickstart::Services;

pub fn links(services: &Services, image: &Image) -> Result<Files> {
    let mut files = Files::new();
    let mut waiting: Vec<String> = services
        .enabled
        .iter()
        .map(|unit| unit.as_str().to_owned())
        .collect();
    let mut done = BTreeSet::new();
    while let Some(unit) = waiting.pop() {
        if done.insert(unit.clone()) {
            waiting.extend(enable(&unit, image, &mut files)?);
        }
    }
    for unit in &services.disabled {
        if find(unit.as_str(), image)?.is_none() {
            bail!("services --disabled: the image has no {}", unit.as_str());
        }
        files.insert(path(unit.as_str()), Content::Link("/dev/null".into()));
    }
    Ok(files)
}

/// Of a unit's own file below `/etc`.
pub fn path(unit: &str) -> String {
    format!("systemd/system/{unit}")
}

/// What the unit's `[Install]` asks for (systemd.unit(5)); returns the units that go with it.
fn enable(unit: &str, image: &Image, files: &mut Files) -> Result<Vec<String>> {
    let Some((place, text)) = find(unit, image)? else {
        bail!("services --enabled: the image has no {unit}");
    };
    let instance = unit
        .split_once('@')
        .and_then(|(_, rest)| rest.rsplit_once('.'));
    let instance = instance.map_or("", |(name, _)| name);
    let (mut links, mut also) = (Vec::new(), Vec::new());
    for (key, value) in install(&text) {
        let value = value.replace("%i", instance);
        match key {
            "WantedBy" => links.push(format!("{value}.wants/{unit}")),
            "RequiredBy" => links.push(format!("{value}.requires/{unit}")),
            "Alias" => links.push(value),
            _ => also.push(value),
        }
    }
    if links.is_empty() && also.is_empty() {
        bail!("services --enabled: {unit} cannot be enabled: it has no [Install]");
    }
    let link = |name: String| (path(&name), Content::Link(place.clone()));
    files.extend(links.into_iter().map(link));
    Ok(also)
}

/// The path and text of a unit, or of the template that it is an instance of.
fn find(unit: &str, image: &Image) -> Result<Option<(String, String)>> {
    let template = match (unit.split_once('@'), unit.rsplit_once('.')) {
        (Some((name, _)), Some((_, suffix))) => format!("{name}@.{suffix}"),
        _ => unit.to_owned(),
    };
    for folder in ["etc/systemd/system", "usr/lib/systemd/system"] {
        let path = format!("{folder}/{template}");
        if let Some(text) = (image.read)(&path)? {
            return Ok(Some((format!("/{path}"), text)));
        }
    }
    Ok(None)
}

/// The keys and single values of `[Install]`.
fn install(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim);
    let inside = lines.skip_while(|line| *line != "[Install]").skip(1);
    inside
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .flat_map(|(key, values)| {
            values
                .split_whitespace()
                .map(move |value| (key.trim(), value))
        })
        .filter(|(key, _)| matches!(*key, "WantedBy" | "RequiredBy" | "Alias" | "Also"))
}
