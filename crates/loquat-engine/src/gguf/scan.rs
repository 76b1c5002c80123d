//! The walk over a header that nobody has checked yet.
//!
//! Reads bytes and believes none: every length is compared with what is there before it is followed, and nothing is allocated
//! in proportion to a declared number.

use std::collections::HashSet;

use super::{MAX_ARRAY_ELEMENTS, MAX_ENTRIES, TensorPlace};

/// Arrays of arrays deeper than this are refused.
const MAX_DEPTH: usize = 4;

/// Why the scan ended early.
pub(super) enum Stop {
    NeedMore,
    Wrong(String),
}

pub(super) struct Named {
    pub(super) name: String,
    pub(super) place: TensorPlace,
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
pub(super) fn scan(head: &[u8], length: u64) -> Result<(u64, Vec<Named>), Stop> {
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
    let mut seen = HashSet::new();
    for _ in 0..keys {
        let key = bytes.name()?;
        let kind = bytes.u32()?;
        if !seen.insert(key) {
            return Err(Stop::Wrong(format!("key {} occurs twice", String::from_utf8_lossy(key))));
        }
        if key != b"general.alignment" {
            bytes.skip_value(kind, &String::from_utf8_lossy(key), 0)?;
        } else if kind == 4 {
            alignment = bytes.u32()?.into();
        } else {
            // The format has it of this type alone; candle would believe others, too.
            return Err(Stop::Wrong(format!("general.alignment has the type {kind}, it must be 4 (u32)")));
        }
    }
    if !alignment.is_power_of_two() || alignment > 1 << 20 {
        return Err(Stop::Wrong(format!("general.alignment is {alignment}, no power of two up to 1048576")));
    }
    let mut places = Vec::new();
    let mut seen = HashSet::new();
    for _ in 0..tensors {
        let name = String::from_utf8_lossy(bytes.name()?).into_owned();
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
    let mut by_offset: Vec<_> = places.iter().collect();
    by_offset.sort_unstable_by_key(|named| named.place.offset);
    // Each is read into memory of its own: a small file whose tensors share their bytes would be a large model.
    for pair in by_offset.windows(2) {
        if let [one, next] = pair
            && one.place.offset.saturating_add(one.place.bytes as u64) > next.place.offset
        {
            return Err(Stop::Wrong(format!("tensors {} and {} overlap", one.name, next.name)));
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

    /// A key or a tensor's name, which candle takes without zeros at its end: what differs in those alone is one.
    fn name(&mut self) -> Result<&'a [u8], Stop> {
        let mut name = self.string()?;
        while let [start @ .., 0] = name {
            name = start;
        }
        Ok(name)
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
