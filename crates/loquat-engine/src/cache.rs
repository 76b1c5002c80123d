//! Keys and values of the tokens read so far, dealt out to the threads in blocks of 32 positions.
//!
//! Each thread owns its blocks and attends to them alone, so nothing is shared and long contexts split evenly. Keys lie
//! transposed (`head_dim × 32` per head), so that 32 scores are one sweep without horizontal sums.

use crate::kernel::BLOCK;
use crate::weights::Shape;

/// One thread's share of one conversation.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    /// Per layer, this thread's blocks in order of position.
    layers: Vec<Vec<Block>>,
}

#[derive(Debug, Clone)]
struct Block {
    /// `kv_heads × head_dim × 32`.
    keys: Box<[f32]>,
    /// `kv_heads × 32 × head_dim`.
    values: Box<[f32]>,
}

/// Bytes of one block of 32 positions over all layers.
pub(crate) fn block_bytes(shape: &Shape) -> usize {
    shape.layers * 2 * shape.kv_width() * BLOCK * size_of::<f32>()
}

/// Which thread of `threads` owns a position, and as which of its blocks.
pub(crate) fn owner(position: usize, threads: usize) -> (usize, usize) {
    let block = position / BLOCK;
    (block % threads, block / threads)
}

impl Shard {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self { layers: (0..shape.layers).map(|_| Vec::new()).collect() }
    }

    /// Stores a position's keys and values in this shard's block `local`.
    pub(crate) fn store(
        &mut self,
        shape: &Shape,
        layer: usize,
        local: usize,
        position: usize,
        keys: &[f32],
        values: &[f32],
    ) {
        let blocks = &mut self.layers[layer];
        let size = shape.kv_width() * BLOCK;
        while blocks.len() <= local {
            blocks.push(Block { keys: vec![0.0; size].into(), values: vec![0.0; size].into() });
        }
        let (block, slot, dim) = (&mut blocks[local], position % BLOCK, shape.head_dim);
        for (d, key) in keys.iter().enumerate() {
            block.keys[d * BLOCK + slot] = *key;
        }
        for (head, values) in values.chunks_exact(dim).enumerate() {
            let at = (head * BLOCK + slot) * dim;
            block.values[at..at + dim].copy_from_slice(values);
        }
    }

    /// The blocks of a layer: for each, keys and values of one key-value head.
    pub(crate) fn blocks(
        &self,
        shape: &Shape,
        layer: usize,
        head: usize,
    ) -> impl Iterator<Item = (&[f32], &[f32])> {
        let size = shape.head_dim * BLOCK;
        let range = head * size..(head + 1) * size;
        self.layers[layer].iter().map(move |block| (&block.keys[range.clone()], &block.values[range.clone()]))
    }

    /// Blocks held per layer.
    pub(crate) fn len(&self) -> usize {
        self.layers.first().map_or(0, Vec::len)
    }

    /// Forgets the blocks from `local` on.
    pub(crate) fn truncate(&mut self, local: usize) {
        for blocks in &mut self.layers {
            blocks.truncate(local);
        }
    }

    /// The first `local` blocks, copied.
    pub(crate) fn copy_beginning(&self, local: usize) -> Self {
        let layers = self.layers.iter().map(|blocks| blocks.iter().take(local).cloned().collect()).collect();
        Self { layers }
    }
}
