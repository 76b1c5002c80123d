//! Random JSON texts for proptest. Not among the oracle's modules: the fuzz targets, which have their own randomness, share those.

#![allow(unreachable_pub, reason = "shared by tests and fuzz targets")]

use proptest::prelude::*;

use crate::oracle::json::NAMES;

/// Documents as text, so that white space, escapes and repeated names come in as well.
pub fn document() -> impl Strategy<Value = String> {
    let space = prop::sample::select(vec!["", "", "", " ", "\n\t"]);
    let number =
        prop::sample::select(vec!["0", "-0", "1", "12.5e-3", "18446744073709551616", "1e999", "-7", "0.10"]);
    let string = prop_oneof![
        "[a-zé\\\\]{0,9}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        prop::sample::select(vec![
            r#""""#,
            r#""\u00e9\n""#,
            r#""\ud83d\ude00""#,
            r#""\ud83d""#,
            r#""\ude00x""#,
            r#""a long string with \"quotes\" in it""#
        ])
        .prop_map(str::to_owned),
    ];
    let scalar = prop_oneof![
        prop::sample::select(vec!["null", "true", "false"]).prop_map(str::to_owned),
        number.prop_map(str::to_owned),
        string,
    ];
    let name = prop_oneof![
        4 => prop::sample::select(NAMES).prop_map(|name| format!("{name:?}")),
        1 => prop::sample::select(vec![r#""\u0061""#, r#""\u00e9""#, r#""\ud800""#]).prop_map(str::to_owned),
    ];
    scalar.prop_recursive(6, 48, 5, move |inner| {
        let spaced = (space.clone(), inner).prop_map(|(space, value)| format!("{space}{value}{space}"));
        prop_oneof![
            prop::collection::vec(spaced.clone(), 0..5).prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec((name.clone(), spaced), 0..5).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}
