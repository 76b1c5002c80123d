//! A GGUF file, checked before anything trusts it.
//!
//! [`verify`] walks the header over a bounded prefix of the file and checks every count, length, dimension and extent against
//! the bytes that are really there; only then does candle's reader build its values from the same bytes. (That reader alone
//! divides by a declared alignment of zero, multiplies dimensions unchecked and spends 32 bytes on each element of an array.)
//!
//! Source: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::{Content, Value};

use crate::error::{Result, invalid, local};

/// Largest header (metadata and tensor table) accepted, bytes. A 256k vocabulary with merges takes about 12 MB.
pub const MAX_HEADER_BYTES: u64 = 64 << 20;
/// Most elements of all metadata arrays together; each costs 32 bytes of memory while loading.
pub const MAX_ARRAY_ELEMENTS: u64 = 4 << 20;
/// Most tensors, and most metadata keys.
pub const MAX_ENTRIES: u64 = 1 << 16;
/// Arrays of arrays deeper than this are refused.
const MAX_DEPTH: usize = 4;
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

/// Why the scan ended early.
enum Stop {
    NeedMore,
    Wrong(String),
}

struct Named {
    name: String,
    place: TensorPlace,
}

/// Elements per block and bytes per block of ggml's types that candle can dequantize.
fn block_of(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 => (1, 4),      // F32
        1 | 30 => (1, 2), // F16, BF16
        2 => (32, 18),    // Q4_0
        3 => (32, 20),    // Q4_1
        6 => (32, 22),    // Q5_0
        7 => (32, 24),    // Q5_1
        8 => (32, 34),    // Q8_0
        10 => (256, 84),  // Q2_K
        11 => (256, 110), // Q3_K
        12 => (256, 144), // Q4_K
        13 => (256, 176), // Q5_K
        14 => (256, 210), // Q6_K
        _ => return None,
    })
}

/// Walks the header; returns where tensor data starts and every tensor's place (offsets relative to that start).
fn scan(head: &[u8], length: u64) -> Result<(u64, Vec<Named>), Stop> {
    let mut bytes = Walk { head, at: 0, elements: 0 };
    if bytes.take(4)? != b"GGUF" {
        return Err(Stop::Wrong("no GGUF file: it does not begin with \"GGUF\"".into()));
    }
    let version = bytes.u32()?;
    if !(2..=3).contains(&version) {
        return Err(Stop::Wrong(format!("GGUF version {version}, supported are 2 and 3")));
    }
    let (tensors, keys) = (bytes.u64()?, bytes.u64()?);
    if tensors > MAX_ENTRIES || keys > MAX_ENTRIES {
        return Err(Stop::Wrong(format!(
            "declares {tensors} tensors and {keys} keys, allowed are {MAX_ENTRIES} each"
        )));
    }
    let mut alignment = 32u64;
    for _ in 0..keys {
        let key = bytes.string()?;
        let kind = bytes.u32()?;
        if key == b"general.alignment" && kind == 4 {
            alignment = u64::from(u32::from_le_bytes(bytes.array()?));
        } else {
            bytes.skip_value(kind, &String::from_utf8_lossy(key), 0)?;
        }
    }
    if !alignment.is_power_of_two() || alignment > 1 << 20 {
        return Err(Stop::Wrong(format!("general.alignment is {alignment}, no power of two up to 1048576")));
    }
    let mut places = Vec::new();
    let mut seen = HashSet::new();
    for _ in 0..tensors {
        let name = String::from_utf8_lossy(bytes.string()?).into_owned();
        if !seen.insert(name.clone()) {
            return Err(Stop::Wrong(format!("tensor {name} occurs twice")));
        }
        places.push(Named { place: bytes.tensor(&name)?, name });
    }
    let start = (bytes.at as u64).div_ceil(alignment) * alignment;
    for Named { name, place } in &places {
        let end = start.checked_add(place.offset).and_then(|at| at.checked_add(place.bytes as u64));
        if end.is_none_or(|end| end > length) {
            let (at, size) = (place.offset, place.bytes);
            let what = format!(
                "cut short: tensor {name} needs {size} bytes at {start} + {at}, the file has {length}"
            );
            return Err(Stop::Wrong(what));
        }
    }
    if start > head.len() as u64 {
        return if start > length {
            Err(Stop::Wrong("cut short after its header".into()))
        } else {
            Err(Stop::NeedMore)
        };
    }
    Ok((start, places))
}

struct Walk<'a> {
    head: &'a [u8],
    at: usize,
    elements: u64,
}

impl<'a> Walk<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8], Stop> {
        let count = usize::try_from(count).map_err(|_| Stop::NeedMore)?;
        let end = self.at.checked_add(count).ok_or(Stop::NeedMore)?;
        let taken = self.head.get(self.at..end).ok_or(Stop::NeedMore)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        self.take(N as u64)?.try_into().map_err(|_| Stop::NeedMore)
    }

    fn u32(&mut self) -> Result<u32, Stop> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Stop> {
        self.array().map(u64::from_le_bytes)
    }

    fn string(&mut self) -> Result<&'a [u8], Stop> {
        let length = self.u64()?;
        self.take(length)
    }

    fn skip_value(&mut self, kind: u32, key: &str, depth: usize) -> Result<(), Stop> {
        match kind {
            7 => {
                let [flag] = self.array()?;
                if flag > 1 {
                    return Err(Stop::Wrong(format!("key {key} holds the truth value {flag}")));
                }
            }
            8 => drop(self.string()?),
            9 => {
                let (kind, count) = (self.u32()?, self.u64()?);
                self.elements = self.elements.saturating_add(count);
                if self.elements > MAX_ARRAY_ELEMENTS {
                    let what = format!("key {key}: arrays of more than {MAX_ARRAY_ELEMENTS} elements in all");
                    return Err(Stop::Wrong(what));
                }
                if depth == MAX_DEPTH {
                    return Err(Stop::Wrong(format!("key {key}: arrays nested deeper than {MAX_DEPTH}")));
                }
                for _ in 0..count {
                    self.skip_value(kind, key, depth + 1)?;
                }
            }
            _ => match fixed_size(kind) {
                Some(size) => drop(self.take(size)?),
                None => return Err(Stop::Wrong(format!("key {key} has the unknown type {kind}"))),
            },
        }
        Ok(())
    }

    fn tensor(&mut self, name: &str) -> Result<TensorPlace, Stop> {
        let dimensions = self.u32()?;
        if !(1..=4).contains(&dimensions) {
            return Err(Stop::Wrong(format!(
                "tensor {name} has {dimensions} dimensions, allowed are 1 to 4"
            )));
        }
        let columns = self.u64()?;
        let mut rows = Some(1u64);
        for _ in 1..dimensions {
            let dimension = self.u64()?;
            rows = rows.and_then(|rows| rows.checked_mul(dimension));
        }
        let (kind, offset) = (self.u32()?, self.u64()?);
        let (block, size) = block_of(kind)
            .ok_or_else(|| Stop::Wrong(format!("tensor {name} has the unsupported ggml type {kind}")))?;
        let bytes = rows
            .and_then(|rows| rows.checked_mul(columns))
            .filter(|&elements| elements > 0 && columns % block == 0)
            .and_then(|elements| (elements / block).checked_mul(size))
            .and_then(|bytes| usize::try_from(bytes).ok())
            .filter(|&bytes| bytes <= isize::MAX as usize / 8);
        match (bytes, rows.and_then(|rows| usize::try_from(rows).ok()), usize::try_from(columns)) {
            (Some(bytes), Some(rows), Ok(columns)) => Ok(TensorPlace { rows, columns, kind, offset, bytes }),
            _ => Err(Stop::Wrong(format!("tensor {name} has impossible dimensions ({columns} columns)"))),
        }
    }
}

fn fixed_size(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}
