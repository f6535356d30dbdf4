//! Exports, so that two of the same configuration are the same bytes.

/// An export without what changes by itself: the date in its first line, and where its lines were broken. Why it is none,
/// when it is none.
pub(crate) fn normalise(text: &[u8]) -> Result<Vec<u8>, String> {
    let text = text
        .iter()
        .copied()
        .filter(|byte| *byte != b'\r')
        .collect::<Vec<_>>();
    if !text.starts_with(b"#") {
        let begins = String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
        return Err(match begins.is_empty() {
            true => "the export that the device made is empty".to_owned(),
            false => format!("what the device gave is no export: it begins with {begins:?}"),
        });
    }
    let mut lines = Vec::<Vec<u8>>::new();
    let mut continues = false;
    for line in text.split(|byte| *byte == b'\n') {
        let begun = std::mem::take(&mut continues);
        let (line, goes_on) = match line.strip_suffix(b"\\") {
            // A backslash that is escaped itself ends no line.
            Some(before) if before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0 => {
                (before, true)
            }
            _ => (line, false),
        };
        match lines.last_mut().filter(|_| begun) {
            Some(last) => last.extend_from_slice(line.trim_ascii_start()),
            None => lines.push(line.to_vec()),
        }
        continues = goes_on;
    }
    if let Some(error) = lines.iter().find(|line| line.starts_with(b"#error")) {
        return Err(format!(
            "the export is not complete: {}",
            String::from_utf8_lossy(error)
        ));
    }
    if let Some(first) = lines.first_mut()
        && let Some(at) = first.windows(4).position(|part| part == b" by ")
    {
        *first = [b"#", &first[at..]].concat();
    }
    Ok(lines.join(&b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, String> {
        normalise(text.as_bytes()).map(|text| String::from_utf8(text).expect("text"))
    }

    #[test]
    fn dates_and_broken_lines_are_no_difference() {
        let new = "# 2026-01-01 00:00:01 by RouterOS 7.16.2\r\n# software id = A\r\n/ip dns\r\nset a=b \\\r\n    c=\"d e\\\r\n    f\"\r\n";
        let whole = "# by RouterOS 7.16.2\n# software id = A\n/ip dns\nset a=b c=\"d ef\"\n";
        assert_eq!(of(new).as_deref(), Ok(whole));
        let old = "# jan/01/2026 00:00:01 by RouterOS 6.49.17\n/ip dns\n";
        assert_eq!(of(old).as_deref(), Ok("# by RouterOS 6.49.17\n/ip dns\n"));
        assert_eq!(of(whole).as_deref(), Ok(whole), "once is enough");
        assert_eq!(
            of("# x\nset a=\"\\\\\"\nb").as_deref(),
            Ok("# x\nset a=\"\\\\\"\nb")
        );
    }

    #[test]
    fn what_is_no_export_is_told() {
        assert!(of("").expect_err("empty").contains("is empty"));
        assert!(
            of("bad command name /x (line 1 column 1)")
                .expect_err("none")
                .contains("bad command")
        );
        let timeout = "# a by b\n/ip dns\n#error exporting /ip/dns (timeout)\n";
        assert!(of(timeout).expect_err("not all").contains("(timeout)"));
    }
}
