//! What whoever starts the installer says and what a kickstart file says, together. Pure.

use anyhow::{Result, bail};

use super::choice::Choice;
use super::drives::Wish;
use super::words::{Place, Words};
use crate::kickstart::Kickstart;
use crate::types::{ChannelName, RefName};

/// Of a command line, the kernel's or the program's: it goes before the file.
#[derive(Debug, Clone, Default)]
pub struct Said {
    pub url: Option<String>,
    pub bundle: Option<Place>,
    pub channel: Option<ChannelName>,
    pub wish: Option<Wish>,
    pub kernel_arguments: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Terms {
    /// Where this installation takes the release from.
    pub from: Place,
    /// Where the device reads its releases later.
    pub url: Option<String>,
    pub channel: ChannelName,
    /// What the channel's release must be of.
    pub reference: Option<RefName>,
    pub choice: Choice,
    pub kernel_arguments: Vec<String>,
}

impl Said {
    pub fn of_words(words: &Words) -> Self {
        Self {
            url: words.url.clone(),
            bundle: words.bundle.clone(),
            channel: words.channel.clone(),
            wish: words.disk.clone(),
            kernel_arguments: Vec::new(),
        }
    }
}

pub fn agree(said: &Said, kickstart: Option<&Kickstart>) -> Result<Terms> {
    let source = kickstart.and_then(|k| k.source.as_ref());
    let url = said.url.clone().or(source.map(|s| s.url.clone()));
    let medium = kickstart.and_then(|k| k.medium.as_ref());
    let medium = medium.map(|medium| Place::Medium {
        partition: medium.partition.clone(),
        path: medium.dir.clone(),
    });
    let from = said
        .bundle
        .clone()
        .or(medium)
        .or(url.clone().map(Place::Web));
    let Some(from) = from else {
        bail!(
            "nothing says where the release is: edge.url= or edge.bundle= on the kernel's command line, or ostreesetup in \
             a kickstart file"
        );
    };
    let channel = said.channel.clone().or(source.map(|s| s.channel.clone()));
    let file_arguments = kickstart.map(Kickstart::kargs).unwrap_or_default();
    Ok(Terms {
        from,
        url,
        // Another channel than the file's has another ref.
        reference: source
            .filter(|_| said.channel.is_none())
            .and_then(|s| s.reference.clone()),
        channel: channel.unwrap_or_default(),
        choice: Choice {
            wish: said.wish.clone(),
            disks: kickstart.map(|k| k.disks.clone()),
        },
        kernel_arguments: [file_arguments, said.kernel_arguments.clone()].concat(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kickstart::parse;

    #[test]
    fn the_command_line_goes_before_the_file() {
        let text = "ostreesetup --osname=edge --remote=edge --url=http://a --ref=channel:beta\nbootloader --append=\"quiet\"\nselinux --permissive\n";
        let file = parse("t.ks", text, &mut |_| bail!("none")).unwrap();
        let terms = agree(&Said::default(), Some(&file)).unwrap();
        assert_eq!(
            (terms.url.as_deref(), terms.channel.as_str()),
            (Some("http://a"), "beta")
        );
        assert_eq!(terms.from, Place::Web("http://a".into()));
        assert_eq!(terms.kernel_arguments, ["quiet", "enforcing=0"]);
        let words =
            Words::parse("edge.url=http://b edge.channel=stable edge.bundle=LABEL=X").unwrap();
        let terms = agree(&Said::of_words(&words), Some(&file)).unwrap();
        assert_eq!(
            (terms.url.as_deref(), terms.channel.as_str()),
            (Some("http://b"), "stable")
        );
        assert!(matches!(terms.from, Place::Medium { .. }));
        let error = agree(&Said::default(), None).unwrap_err().to_string();
        assert!(error.contains("edge.url="), "{error}");
    }
}
