//! Sizes for a person.

/// A size in units of 1,000, as disks and downloads are counted.
pub(crate) fn megabytes(bytes: u64) -> String {
    const MB: u64 = 1_000_000;
    if bytes < 10 * MB {
        format!("{}.{} MB", bytes / MB, bytes % MB * 10 / MB)
    } else {
        format!("{} MB", bytes / MB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(megabytes(97_700_000), "97 MB");
        assert_eq!(megabytes(1_250_000), "1.2 MB");
        assert_eq!(megabytes(0), "0.0 MB");
    }
}
