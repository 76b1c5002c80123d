//! A GGUF file, checked before anything trusts it.
//!
//! [`verify`] walks the header over a bounded prefix of the file and checks every count, length, dimension and extent against
//! the bytes that are really there; only then does candle's reader build its values from the same bytes. (That reader alone
//! divides by a declared alignment of zero, multiplies dimensions unchecked and spends 32 bytes on each element of an array.)
//!
//! Source: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod scan;

use std::collections::HashMap;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::{Content, Value};

use crate::error::{Result, invalid, local};

use scan::{Stop, scan};

/// Largest header (metadata and tensor table) accepted, bytes. A 256k vocabulary with merges takes about 12 MB.
pub const MAX_HEADER_BYTES: u64 = 64 << 20;
/// Most elements of all metadata arrays together; each costs 32 bytes of memory while loading.
pub const MAX_ARRAY_ELEMENTS: u64 = 4 << 20;
/// Most tensors, and most metadata keys.
pub const MAX_ENTRIES: u64 = 1 << 16;
/// What is read of the file at first; nearly every header fits.
const FIRST_READ_BYTES: u64 = 8 << 20;

/// What a verified file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// `general.architecture`, for example `llama`.
    pub architecture: String,
    /// `general.name`, when there is one.
    pub name: Option<String>,
    /// Number of tensors.
    pub tensors: usize,
    /// Size of the whole file in bytes.
    pub bytes: u64,
}

/// Checks that the file is a whole and consistent GGUF, reading its header only.
///
/// # Errors
/// Says what is wrong and where: no GGUF, an unknown version, a declared length beyond the file, a tensor cut off.
pub fn verify(path: impl AsRef<Path>) -> Result<Summary> {
    let file = Gguf::open(path.as_ref())?;
    Ok(Summary {
        architecture: file.text("general.architecture").unwrap_or_default().to_owned(),
        name: file.text("general.name").map(str::to_owned),
        tensors: file.tensors.len(),
        bytes: file.bytes,
    })
}

/// Where a tensor lies and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorPlace {
    /// Number of rows: the product of all dimensions but the first.
    pub(crate) rows: usize,
    /// Number of elements of one row: GGUF's first dimension.
    pub(crate) columns: usize,
    /// ggml's number of the element type.
    pub(crate) kind: u32,
    /// From the start of the file, bytes.
    offset: u64,
    bytes: usize,
}

impl TensorPlace {
    /// Whether the kernels compute with this type as it is.
    pub(crate) fn is_native(&self) -> bool {
        matches!(self.kind, Q4_0 | Q4_1 | Q8_0)
    }
}

/// ggml's numbers of the types that have kernels.
pub(crate) const Q4_0: u32 = 2;
pub(crate) const Q4_1: u32 = 3;
pub(crate) const Q8_0: u32 = 8;

/// An opened, verified file.
#[derive(Debug)]
pub(crate) struct Gguf {
    path: PathBuf,
    content: Content,
    tensors: HashMap<String, TensorPlace>,
    bytes: u64,
}

impl Gguf {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let mut file = File::open(path).map_err(|e| local(format!("cannot open {shown}"), e))?;
        let length = file.metadata().map_err(|e| local(format!("cannot read {shown}"), e))?.len();
        let mut head = Vec::new();
        let mut budget = FIRST_READ_BYTES;
        let (start, places) = loop {
            let missing = budget.min(length).saturating_sub(head.len() as u64);
            Read::by_ref(&mut file)
                .take(missing)
                .read_to_end(&mut head)
                .map_err(|e| local(format!("cannot read {shown}"), e))?;
            match scan(&head, length) {
                Ok(found) => break found,
                Err(Stop::NeedMore) if budget < length.min(MAX_HEADER_BYTES) => budget = MAX_HEADER_BYTES,
                Err(Stop::NeedMore) if length > MAX_HEADER_BYTES => {
                    return Err(invalid(format!("{shown}: header longer than {MAX_HEADER_BYTES} bytes")));
                }
                Err(Stop::NeedMore) => {
                    return Err(invalid(format!("{shown}: cut short: its header ends after {length} bytes")));
                }
                Err(Stop::Wrong(what)) => return Err(invalid(format!("{shown}: {what}"))),
            }
        };
        head.truncate(usize::try_from(start).unwrap_or(usize::MAX));
        let content = Content::read(&mut Cursor::new(&head))
            .map_err(|e| local(format!("{shown}: unreadable header"), e))?;
        let tensors = places
            .into_iter()
            .map(|raw| {
                let place = raw.place;
                (raw.name, TensorPlace { offset: start + place.offset, ..place })
            })
            .collect();
        Ok(Self { path: path.to_owned(), content, tensors, bytes: length })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(key)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.value(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// Any non-negative integer.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::I8(v) => u64::try_from(*v).ok(),
            Value::I16(v) => u64::try_from(*v).ok(),
            Value::I32(v) => u64::try_from(*v).ok(),
            Value::I64(v) => u64::try_from(*v).ok(),
            other => other.to_u64().ok(),
        }
    }

    pub(crate) fn float(&self, key: &str) -> Option<f32> {
        match self.value(key)? {
            Value::F32(v) => Some(*v),
            #[expect(clippy::cast_possible_truncation, reason = "a rounded constant is what is wanted")]
            Value::F64(v) => Some(*v as f32),
            _ => None,
        }
    }

    pub(crate) fn array(&self, key: &str) -> Option<&[Value]> {
        match self.value(key) {
            Some(Value::Array(values)) => Some(values),
            _ => None,
        }
    }

    /// A number that must be there and lie in `1..=max`.
    pub(crate) fn size(&self, key: &str, max: usize) -> Result<usize> {
        let value =
            self.number(key).ok_or_else(|| invalid(format!("{}: {key} is missing", self.path.display())))?;
        match usize::try_from(value) {
            Ok(size) if (1..=max).contains(&size) => Ok(size),
            _ => Err(invalid(format!("{}: {key} is {value}, allowed are 1 to {max}", self.path.display()))),
        }
    }

    pub(crate) fn place(&self, name: &str) -> Option<&TensorPlace> {
        self.tensors.get(name)
    }

    /// The tensor's place, checked to be `rows × columns`.
    pub(crate) fn expect(&self, name: &str, rows: usize, columns: usize) -> Result<&TensorPlace> {
        let shown = self.path.display();
        let place = self.place(name).ok_or_else(|| invalid(format!("{shown}: tensor {name} is missing")))?;
        if (place.rows, place.columns) == (rows, columns) {
            return Ok(place);
        }
        let (r, c) = (place.rows, place.columns);
        Err(invalid(format!("{shown}: tensor {name} is {r} × {c}, expected {rows} × {columns}")))
    }

    /// All tensors, in no order.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&str, &TensorPlace)> {
        self.tensors.iter().map(|(name, place)| (name.as_str(), place))
    }

    pub(crate) fn metadata(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.content.metadata.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The tensor as candle has it.
    pub(crate) fn tensor(&self, file: &mut File, name: &str) -> Result<QTensor> {
        self.content
            .tensor(file, name, &Device::Cpu)
            .map_err(|e| local(format!("{}: tensor {name} cannot be read", self.path.display()), e))
    }

    /// The tensor's bytes as they lie in the file.
    pub(crate) fn raw(&self, file: &mut File, place: &TensorPlace) -> Result<Vec<u8>> {
        let mut bytes = vec![0; place.bytes];
        file.seek(SeekFrom::Start(place.offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| local(format!("cannot read {}", self.path.display()), e))?;
        Ok(bytes)
    }

    /// The tensor as numbers, whatever its type.
    pub(crate) fn floats(&self, file: &mut File, name: &str) -> Result<Vec<f32>> {
        let tensor = self.tensor(file, name)?;
        tensor
            .dequantize(&Device::Cpu)
            .and_then(|values| values.flatten_all()?.to_vec1())
            .map_err(|e| local(format!("{}: tensor {name} cannot be read", self.path.display()), e))
    }
}
