//! What a template may use, each limit by name.

use std::time::Duration;

/// Limits of compiling and rendering.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TemplateLimits {
    /// Longest source of one template, bytes. Default 256 KiB: the longest published prompts have some 50.
    pub max_source_bytes: usize,
    /// Most templates of one set. Default 4,096.
    pub max_templates: usize,
    /// Deepest nesting of blocks and partials together. Default 64; it is what the stack of a thread bears with room to spare.
    pub max_depth: usize,
    /// Most inclusions that one rendering can come to by its partials alone, loops apart. Default 10,000: ten partials, each
    /// including the next one twice, are a thousand.
    pub max_inclusions: u64,
    /// Longest prompt, bytes, and longest text that a helper makes for it; all texts that helpers make come to sixteen times that at
    /// most. Default 8 MiB: more than the largest context windows hold.
    pub max_output_bytes: usize,
    /// Most that the partials under way at one time may copy of the data, what they are given and what is between their tags
    /// included, and the arguments of one helper; in bytes of memory, roughly. handlebars copies what a partial sees. Default 128 MiB:
    /// sixteen times the longest prompt.
    pub max_held_bytes: usize,
    /// Most turns of all loops together. Default 1,000,000.
    pub max_steps: u64,
    /// Longest time of one rendering, looked at now and then. Default 1 s; usual are microseconds.
    pub max_time: Duration,
}

impl Default for TemplateLimits {
    fn default() -> Self {
        Self {
            max_source_bytes: 256 << 10,
            max_templates: 4096,
            max_depth: 64,
            max_inclusions: 10_000,
            max_output_bytes: 8 << 20,
            max_held_bytes: 128 << 20,
            max_steps: 1_000_000,
            max_time: Duration::from_secs(1),
        }
    }
}
