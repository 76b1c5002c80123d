//! What is encoded. Real text comes from the sources in cargo's registry, which are there wherever this was built; the rest is
//! drawn from a seeded generator.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes of a slice.
const SLICE_BYTES: usize = 256 << 10;
const MEGABYTE: usize = 1_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Prose,
    Code,
    Json,
    Chinese,
    Letter,
    Spaces,
    Base64,
    Noise,
}

pub const KINDS: [Kind; 8] = [
    Kind::Prose,
    Kind::Code,
    Kind::Chinese,
    Kind::Json,
    Kind::Letter,
    Kind::Spaces,
    Kind::Base64,
    Kind::Noise,
];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Prose => "prose",
            Self::Code => "code",
            Self::Json => "json",
            Self::Chinese => "zh",
            Self::Letter => "a1M",
            Self::Spaces => "spaces1M",
            Self::Base64 => "base64-1M",
            Self::Noise => "random1M",
        }
    }

    /// Whether a slice is one call.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Letter | Self::Spaces | Self::Base64 | Self::Noise)
    }

    /// So many slices, none like another.
    pub fn slices(self, count: usize) -> Vec<String> {
        let mut random = Random(20_261_128);
        match self {
            Self::Letter => vec!["a".repeat(MEGABYTE); count],
            Self::Spaces => vec![" ".repeat(MEGABYTE); count],
            Self::Base64 => (0..count).map(|_| base64(&mut random)).collect(),
            Self::Noise => (0..count)
                .map(|_| {
                    let bytes: Vec<u8> = (0..MEGABYTE / 2).map(|_| random.next() as u8).collect();
                    let mut text = String::from_utf8_lossy(&bytes).into_owned();
                    text.truncate(text.floor_char_boundary(MEGABYTE));
                    text
                })
                .collect(),
            Self::Chinese => (0..count).map(|_| chinese(&mut random)).collect(),
            Self::Prose => cut(&written("md", count * SLICE_BYTES, prose), count),
            Self::Code => cut(&written("rs", count * SLICE_BYTES, str::to_owned), count),
            Self::Json => {
                // Chat requests, as they are sent: escaped prose and code in turns.
                let texts = written("md", count * SLICE_BYTES, str::to_owned);
                let messages = texts.as_bytes().chunks(700).map(String::from_utf8_lossy);
                let requests = messages.enumerate().map(|(at, text)| {
                    let role = if at % 2 == 0 { "user" } else { "assistant" };
                    serde_json::json!({"role": role, "content": text}).to_string()
                });
                cut(&requests.collect::<Vec<_>>().join(","), count)
            }
        }
    }
}

fn cut(text: &str, count: usize) -> Vec<String> {
    let (mut rest, size) = (text, text.len() / count);
    (0..count)
        .map(|_| {
            let (slice, after) = rest.split_at(rest.floor_char_boundary(size.min(rest.len())));
            rest = after;
            slice.to_owned()
        })
        .collect()
}

/// The files of one kind in cargo's registry, one after the other, a few from each package.
fn written(extension: &str, bytes: usize, take: impl Fn(&str) -> String) -> String {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home =
        home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).expect("a home of cargo");
    let mut text = String::new();
    for index in folders(&home.join("registry/src")) {
        for package in folders(&index) {
            let mut found = Vec::new();
            files(&package, extension, &mut found);
            for file in found.iter().take(4) {
                let file = fs::read_to_string(file).unwrap_or_default();
                // No file is more than a small part of the whole.
                text.push_str(&take(&file[..file.floor_char_boundary(48 << 10)]));
                if text.len() >= bytes {
                    return text;
                }
            }
        }
    }
    assert!(text.len() > bytes / 4, "cargo's registry has too little text");
    text
}

/// Sentences only: no code, tables, lists of links.
fn prose(markdown: &str) -> String {
    let mut is_code = false;
    let mut text = String::new();
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code
            && line.split(' ').count() > 8
            && !line.contains("://")
            && !line.starts_with(['|', '<', ' '])
        {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for path in folders(folder) {
        if path.is_dir() && !path.is_symlink() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
}

/// Some hundred words, the more frequent first, and punctuation.
fn chinese(random: &mut Random) -> String {
    const WORDS: &str = "的 一 是 在 不 了 有 和 人 这 中 大 为 上 个 国 我 以 要 他 时 来 用 们 生 到 作 地 于 出 就 分 对 成 会 可 主 发 年 动 同 工 也 能 下 \
        过 子 说 产 种 面 而 方 后 多 定 行 学 法 所 民 得 经 十 三 之 进 着 等 部 度 家 电 力 里 如 水 化 高 自 二 理 起 小 物 现 实 加 量 都 两 体 制 机 当 使 \
        点 从 业 本 去 把 性 好 应 开 它 合 还 因 由 其 些 然 前 外 天 政 四 日 那 社 义 事 平 形 相 全 表 间 样 与 关 各 重 新 线 内 数 正 心 反 你 明 看 原 又 \
        么 利 比 或 但 质 气 第 向 道 命 此 变 条 只 没 结 解 问 意 建 月 公 无 系 软件 系统 用户 文件 安装 配置 服务器 网络 数据 信息 问题 时候 可以 \
        我们 他们 使用 需要 通过 进行 包括 如果 因为 所以 但是 已经 没有 什么 自己 开始 国家 发展 社会 经济 工作 人民 生活 世界 历史 文化 教育 科学 技术 研究 \
        方法 结果 影响 作用 情况 关系 条件 程度 方面 部分 过程 活动 环境 资源 市场 企业 管理 组织 政府 法律 计划 项目 目标 任务 能力 水平 质量 标准 原则 理论 \
        模型 语言 参数 训练 推理 缓存 请求 响应 错误 连接 内存 线程 算法 结构 函数 变量 接口 协议 安全 权限 密码 命令 脚本 软件包 操作系统 管理员 自由软件 \
        提供 选择 支持 创建 删除 修改 更新 运行 执行 检查 测试 调试 编译 启动 停止 重要 主要 一般 特别 完全 简单 复杂 不同 相同 各种 许多 其他 另外 例如 \
        毕竟 竟然 尽管 仍然 逐渐 迅速 显然 恐怕 似乎 确实 究竟 尤其 甚至 曾经 终于 赶紧 顺便 干脆 索性 偏偏 咖啡 葡萄 蝴蝶 骆驼 玻璃 琵琶 尴尬 忐忑 徘徊 踌躇";
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = String::new();
    let mut since = 0;
    while text.len() < SLICE_BYTES {
        // Zipf: the logarithm of a rank is about even.
        let rank = (words.len() as f64).powf(random.next() as f64 / u64::MAX as f64) as usize;
        text.push_str(words[rank.min(words.len()) - 1]);
        since += 1;
        if random.next().is_multiple_of(9) && since > 3 {
            text.push_str(
                ["，", "，", "，", "。", "。", "、", "：", "“", "”", "\n"][random.next() as usize % 10],
            );
            since = 0;
        }
    }
    text
}

fn base64(random: &mut Random) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..MEGABYTE).map(|_| char::from(LETTERS[random.next() as usize % 64])).collect()
}

/// A generator with a seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }
}
