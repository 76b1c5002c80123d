//! Byte-pair encoding of one word, in time linear in its length.
//!
//! The definition: a word's bytes are tokens of one byte each; of all neighbours that a merge of the vocabulary joins, those
//! with the lowest rank are joined, the leftmost first, until none can be. Done literally that is quadratic, or a heap.
//!
//! Short words are done literally all the same ([`word::merge`]): there is little to be square to, and most of
//! the first merges are looked up in a table of byte pairs. Longer ones are done by a theorem instead (van Antwerpen and
//! Neubeck, "So many tokens, so little time", 2024): a sequence of tokens is the encoding of its bytes if and only if each two
//! neighbours are the encoding of theirs. For a merge across a boundary in the whole would, at its moment, have been the best one
//! among the two tokens' own merges as well. So: take the longest token that fits behind the last
//! ([`words::Words::longest`]), go back to a shorter one where the two are no neighbours
//! ([`merges::Merges::are_neighbours`]), and remember from which places there was no way on. Each place is left once.
//!
//! A word in a script without spaces is cut first where no token can lie across ([`joins::Joins`]).
//!
//! A vocabulary's ranks are its tokens here; the tokens of vocabularies that number them otherwise are mapped afterwards.
//! Which of a list of merges can happen at all, [`reached`] tells.

mod batch;
mod joins;
mod memo;
mod merges;
mod reached;
mod vocabulary;
mod word;
mod words;

pub(crate) use batch::BATCH;
pub(crate) use memo::Memo;
pub(crate) use reached::{Merge, Reached};
pub(crate) use vocabulary::Vocabulary;
pub(crate) use word::Stack;

#[cfg(test)]
mod tests;
