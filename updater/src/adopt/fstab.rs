//! The `/etc/fstab` of an adopted system. Pure.

/// What our initramfs and our updater mount by themselves.
const OURS: [&str; 3] = ["/", "/boot", "/boot/efi"];

/// Its text with the lines of those mount points taken out as comments.
pub fn without_ours(text: &str) -> String {
    let line = |line: &str| {
        let point = line.split_whitespace().nth(1);
        let is_comment = line.trim_start().starts_with('#');
        match point {
            Some(point) if !is_comment && OURS.contains(&point) => {
                format!("# mounted by edge-ota: {line}\n")
            }
            _ => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_is_taken_out() {
        let text = "# /etc/fstab\nUUID=1 / ext4 defaults 1 1\nUUID=2  /boot ext4 x 1 2\n\
                    UUID=3 /boot/efi vfat x 0 2\nUUID=4 /var/data ext4 x 1 2\nUUID=5 none swap x 0 0\n";
        let changed = without_ours(text);
        let kept: Vec<&str> = changed
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        assert_eq!(
            kept,
            ["UUID=4 /var/data ext4 x 1 2", "UUID=5 none swap x 0 0"]
        );
        assert_eq!(without_ours(&changed), changed);
        assert_eq!(changed.lines().count(), 6);
    }
}
