//! The chosen fields of a format's events, as an enum beside their pointers.

/// Declares `Field` and its RFC 6901 pointers (`*` = any element) in one table, so that the two cannot drift apart.
macro_rules! fields {
    ($($name:ident = $pointer:expr),* $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Field { $($name),* }

        impl Field {
            #[allow(dead_code, reason = "not every format needs every reading")]
            const ALL: &'static [Field] = &[$(Field::$name),*];
            const POINTERS: &'static [&'static str] = &[$($pointer),*];

            /// An extractor of these fields.
            fn extractor() -> Result<loquat_json::Extractor, loquat_core::Error> {
                static COMPILED: std::sync::LazyLock<Result<loquat_json::Fields, loquat_json::PointerError>> =
                    std::sync::LazyLock::new(|| loquat_json::Fields::compile(Field::POINTERS));
                match &*COMPILED {
                    Ok(fields) => Ok(loquat_json::Extractor::new(fields.clone())),
                    Err(error) => Err(loquat_core::Error::new(
                        loquat_core::ErrorKind::Internal,
                        "a pointer of this format cannot be compiled",
                    )
                    .with_source(error.clone())),
                }
            }

            /// A bit for each of these fields, as [`loquat_json::Found::is_only`] takes them.
            #[allow(dead_code, reason = "not every format needs every reading")]
            const fn bits(fields: &[Field]) -> u128 {
                let (mut bits, mut at) = (0, 0);
                while at < fields.len() {
                    bits |= 1 << fields[at] as u32;
                    at += 1;
                }
                bits
            }

            #[allow(dead_code, reason = "not every format needs every reading")]
            fn of(found: &loquat_json::Match<'_>) -> Option<Field> {
                Field::ALL.get(found.field).copied()
            }

            #[inline(always)] // asked a dozen times for each event, most often in vain
            fn get<'e>(self, found: loquat_json::Found<'e>) -> Option<loquat_json::Value<'e>> {
                found.get(self as usize)
            }

            #[allow(dead_code, reason = "not every format needs every reading")]
            fn text<'e>(self, found: loquat_json::Found<'e>) -> Option<loquat_json::Str<'e>> {
                self.get(found)?.as_str().filter(|text| !text.is_empty())
            }

            #[allow(dead_code, reason = "not every format needs every reading")]
            fn count(self, found: loquat_json::Found<'_>) -> Option<u64> {
                self.get(found)?.as_u64()
            }
        }
    };
}

pub(crate) use fields;
