//! What a number was measured on.

use std::fs;

/// The machine in one line: processors, memory, system. Says what the numbers depend on and names nobody.
pub fn describe() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok())
        .map(|kib| format!(", {:.0} GiB", kib as f64 / f64::from(1 << 20)));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Distributions append their own words to the version; the numbers do not depend on them.
    let kernel = kernel.trim().split(['-', '+']).next().unwrap_or_default();
    let system = format!("{} {kernel}", std::env::consts::OS);
    format!(
        "{processors} x {model}{}, {}",
        memory.unwrap_or_default(),
        system.trim_end()
    )
}

/// The value of the first line `name : value` of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_one_line() {
        let machine = super::describe();
        assert!(machine.contains(" x ") && !machine.contains('\n'), "{machine}");
    }
}
