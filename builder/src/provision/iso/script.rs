//! What GRUB reads on the medium, from BIOS and from UEFI alike.

use anyhow::{Result, bail};

use super::{INITRAMFS, Iso, KERNEL, SCRIPT};

/// Seconds before the first entry starts by itself.
const TIMEOUT: u32 = 5;

/// The menu.
pub fn menu(iso: &Iso) -> Result<String> {
    let title = quoted(iso.title)?;
    let arguments = iso.kernel_arguments.iter().map(|one| quoted(one));
    let arguments = arguments.collect::<Result<Vec<_>>>()?.join(" ");
    Ok(format!(
        "{serial}set timeout={TIMEOUT}\n\
         set default=0\n\
         menuentry {title} {{\n\
         \x20 linux {KERNEL} {arguments}\n\
         \x20 initrd {INITRAMFS}\n\
         }}\n\
         menuentry 'Next boot device' {{\n\
         \x20 exit 1\n\
         }}\n",
        serial = serial(iso.kernel_arguments),
    ))
}

/// Leads from where the loader is to the menu: the medium is known by its label alone, whatever drive it is in.
pub fn finder(label: &str) -> String {
    format!(
        "search --no-floppy --set=root --label {label}\n\
         configfile ($root){SCRIPT}\n"
    )
}

/// The menu on the serial port too, where the kernel is told to speak there.
fn serial(arguments: &[String]) -> String {
    let port = |argument: &String| {
        let (unit, speed) = argument.strip_prefix("console=ttyS")?.split_once(',')?;
        let digits: String = speed.chars().take_while(char::is_ascii_digit).collect();
        let (unit, speed) = (unit.parse::<u8>().ok()?, digits.parse::<u32>().ok()?);
        Some((unit, speed))
    };
    match arguments.iter().find_map(port) {
        Some((unit, speed)) => format!(
            "if serial --unit={unit} --speed={speed}; then\n\
             \x20 terminal_input console serial\n\
             \x20 terminal_output console serial\n\
             fi\n"
        ),
        None => String::new(),
    }
}

/// For GRUB everything between two single quotes is itself.
fn quoted(text: &str) -> Result<String> {
    if text.contains('\'') || text.chars().any(char::is_control) {
        bail!("GRUB has no way to write {text:?}: leave out quotes and line ends");
    }
    Ok(format!("'{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_themselves_or_refused() {
        assert_eq!(quoted("a=$b;{c}").unwrap(), "'a=$b;{c}'");
        for text in ["it's", "a\nb"] {
            assert!(quoted(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_menu_is_where_the_kernel_speaks() {
        let check = |arguments: &[&str], expected: Option<&str>| {
            let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
            let text = serial(&arguments);
            match expected {
                Some(expected) => assert!(text.contains(expected), "{text}"),
                None => assert_eq!(text, "", "{arguments:?}"),
            }
        };
        check(
            &["console=tty0", "console=ttyS1,9600n8"],
            Some("--unit=1 --speed=9600;"),
        );
        check(&["console=tty0"], None);
        check(&["console=ttyAMA0,115200"], None);
        check(&["console=ttyS0,fast"], None);
    }
}
