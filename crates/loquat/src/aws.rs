//! What Amazon's own programs read from the environment, for Bedrock.
//!
//! <https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html>. Files of profiles and roles of machines are not
//! read: whoever has those has a tool that puts their keys into the environment.

/// The region that is set.
fn region(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"))?;
    Some(region.trim().to_owned())
}

/// The address of Bedrock in the region that is set.
pub(crate) fn address(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    Some(format!("https://bedrock-runtime.{}.amazonaws.com", region(variable)?))
}

/// The key pair that is set, for the region that is set where an address does not name its own.
#[cfg(feature = "aws")]
pub(crate) fn key(variable: impl Fn(&str) -> Option<String>) -> Option<loquat_core::Secret> {
    let (id, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
    let mut credentials = loquat_provider::AwsCredentials::new(id, secret);
    if let Some(token) = variable("AWS_SESSION_TOKEN") {
        credentials = credentials.with_session_token(token);
    }
    if let Some(region) = region(variable) {
        credentials = credentials.with_default_region(region);
    }
    Some(credentials.into())
}

#[cfg(all(test, feature = "aws"))]
mod tests {
    use loquat_provider::AwsCredentials;

    use super::*;

    #[test]
    fn the_region_is_that_of_the_address_and_of_what_is_signed() {
        for (set, expected) in [
            (&[("AWS_REGION", "eu-west-1"), ("AWS_DEFAULT_REGION", "eu-west-2")][..], Some("eu-west-1")),
            (&[("AWS_DEFAULT_REGION", " eu-west-2 ")], Some("eu-west-2")),
            (&[], None),
        ] {
            let variable = |name: &str| {
                let pair = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "planted-secret")];
                let all = pair.iter().chain(set);
                all.copied().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
            };
            let host = |region| format!("https://bedrock-runtime.{region}.amazonaws.com");
            assert_eq!(address(variable), expected.map(host));
            let mut pair = AwsCredentials::new("id", "planted-secret");
            pair.default_region = expected.map(str::to_owned);
            assert_eq!(key(variable), Some(pair.into()));
        }
    }
}
