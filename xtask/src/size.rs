//! What the node program's bytes are: sections, and which crates its functions and tables come from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;

use crate::program::checks::max_bytes;
use crate::program::elf;

/// How many of the largest are shown.
const ROWS: usize = 8;

/// A report on the program as it was linked, for `target`, which `shipped` bytes are left of once it is stripped.
pub(crate) fn report(linked: &[u8], target: &str, shipped: usize) -> Result<String> {
    let elf = elf::parse_elf(linked)?;
    let max = max_bytes(target);
    let mut out = format!(
        "node program: {shipped} of {max} bytes ({} %), {} left\n",
        shipped * 100 / max,
        max.saturating_sub(shipped)
    );
    let mut crates: BTreeMap<String, u64> = BTreeMap::new();
    for symbol in &elf.symbols {
        *crates.entry(origin(&symbol.name)).or_default() += symbol.size;
    }
    for (title, rows) in [("sections", elf.sections), ("crates", crates.into_iter().collect())] {
        write!(out, "  {title}:")?;
        for (name, size) in largest(rows) {
            write!(out, " {name} {} k,", size.div_ceil(1024))?;
        }
        out.truncate(out.len() - 1);
        out.push('\n');
    }
    Ok(out)
}

fn largest(mut rows: Vec<(String, u64)>) -> Vec<(String, u64)> {
    rows.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    rows.truncate(ROWS);
    rows
}

/// How the symbols begin that are neither Rust's nor libc's.
const OTHERS: [(&str, &[&str]); 3] = [
    ("zstd (C)", &["ZSTD_", "FSE_", "HUF_", "HIST_", "XXH", "ERR_"]),
    // What LLVM found in several functions, of any crates.
    ("outlined", &["OUTLINED_FUNCTION_"]),
    ("libunwind", &["_Unwind_", "unw_", "__unw_", "_ZTVN9libunwind"]),
];

/// The crate a symbol is of, as far as its mangled name tells.
fn origin(symbol: &str) -> String {
    let rust = symbol.strip_prefix("_ZN").map(legacy).or_else(|| symbol.strip_prefix("_R").map(v0));
    let other = || OTHERS.iter().find(|(_, begins)| begins.iter().any(|begin| symbol.starts_with(begin)));
    rust.flatten().or_else(|| other().map(|(name, _)| *name)).unwrap_or("libc").to_owned()
}

/// `12etcd2_backup8recovery…`, or `79_$LT$etcd2_backup..x..Y$u20$as…`.
fn legacy(rest: &str) -> Option<&str> {
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    let length: usize = rest[..digits].parse().ok()?;
    let ident = rest.get(digits..digits.checked_add(length)?)?;
    let Some(kind) = ident.strip_prefix("_$LT$") else { return Some(ident) };
    // Of `impl Trait for &[T]` and the like only the standard library can say whose it is.
    let kind = kind.trim_start_matches("$RF$").trim_start_matches("mut$u20$").trim_start_matches("dyn$u20$");
    let word = kind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(kind, |end| &kind[..end]);
    Some(if word.is_empty() || word.len() == 1 { "core" } else { word })
}

/// `NvNtCsjrHSEGnQ3l9_3std…`: a crate's root is `C`, maybe a number in letters between `s` and `_`, length
/// and name.
fn v0(rest: &str) -> Option<&str> {
    rest.match_indices('C').find_map(|(at, _)| {
        let behind = &rest[at + 1..];
        let behind = match behind.strip_prefix('s').and_then(|b| b.split_once('_')) {
            Some((number, after)) if number.bytes().all(|b| b.is_ascii_alphanumeric()) => after,
            _ => behind,
        };
        let digits = behind.find(|c: char| !c.is_ascii_digit()).filter(|d| *d > 0)?;
        let length: usize = behind[..digits].parse().ok()?;
        let name = behind.get(digits..digits.checked_add(length)?)?;
        Some(name.trim_start_matches('_')).filter(|n| !n.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbols_crate() {
        for (symbol, want) in [
            ("_ZN12etcd2_backup8commands3run17hf0eed4a4965368f4E", "etcd2_backup"),
            ("_ZN4sha26sha25611compress25617ha8e027baa01c7053E", "sha2"),
            (
                "_ZN66_$LT$etcd2_backup..exit..Fault$u20$as$u20$core..fmt..Display$GT$3fmt17h0E",
                "etcd2_backup",
            ),
            ("_ZN42_$LT$$RF$T$u20$as$u20$core..fmt..Debug$GT$3fmt17h0E", "core"),
            ("_RNvMs_NtNtNtCsjrHSEGnQ3l9_3std12backtrace_rs9symbolize5gimliNtB4_7Context3new", "std"),
            ("ZSTD_compressBlock_fast", "zstd (C)"),
            ("OUTLINED_FUNCTION_12", "outlined"),
            ("_Unwind_GetIP", "libunwind"),
            ("_ZN9libunwind10CFI_ParserINS_17LocalAddressSpaceEE8parseCIEERS1_m", "libunwind"),
            ("__vfscanf_internal", "libc"),
            ("_ZN99short", "libc"),
            ("_R", "libc"),
            ("", "libc"),
        ] {
            assert_eq!(origin(symbol), want, "{symbol}");
        }
    }

    #[test]
    fn a_report_names_total_budget_sections_and_crates() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let report = report(&bytes, crate::program::compile::MUSL, 1 << 20).unwrap();
        let lines: Vec<&str> = report.lines().collect();
        assert_eq!(lines[0], "node program: 1048576 of 2621440 bytes (40 %), 1572864 left");
        assert!(lines[1].starts_with("  sections: ") && lines[1].contains(" .text "), "{report}");
        assert!(lines[2].starts_with("  crates: ") && lines[2].contains(" std "), "{report}");
    }
}
