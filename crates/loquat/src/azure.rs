//! What Azure's own programs read from the environment for Azure OpenAI, where each resource has an address of its own.
//!
//! <https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle>: the API without versions is at `/openai/v1`, and the
//! model's name is that of a deployment; the one before, by deployment and version, at `/openai`.

/// The variable that says where.
pub(crate) const VARIABLE: &str = "AZURE_OPENAI_ENDPOINT";

/// The variable that says which version of the API by deployment is asked, as Microsoft's and OpenAI's own clients read it.
/// <https://github.com/openai/openai-python/blob/main/src/openai/lib/azure.py>
pub(crate) const VERSION_VARIABLE: &str = "OPENAI_API_VERSION";

/// Where that version stands in an address.
pub(crate) const VERSION_MEMBER: &str = "api-version";

/// Where either API is, by the provider's name. The variable has the resource's address, or that of either API.
pub(crate) fn addresses(endpoint: &str) -> [(&'static str, String); 2] {
    let resource = endpoint.trim().trim_end_matches('/');
    let resource =
        ["/openai/v1", "/openai"].iter().find_map(|path| resource.strip_suffix(path)).unwrap_or(resource);
    [("azure", format!("{resource}/openai/v1")), ("azure-deployment", format!("{resource}/openai"))]
}

#[cfg(test)]
mod tests {
    use loquat_testing::{Reply, Server};

    use crate::{Client, ErrorKind};

    #[tokio::test]
    async fn the_version_that_the_environment_names_is_asked() {
        for (version, model, expected) in [
            (None, "azure-deployment:d", "/openai/deployments/d/chat/completions?api-version=2024-10-21"),
            (
                Some(" 2025-04-01-preview "),
                "azure-deployment:d",
                "/openai/deployments/d/chat/completions?api-version=2025-04-01-preview",
            ),
            // Which has none.
            (Some("2025-04-01-preview"), "azure:d", "/openai/v1/chat/completions"),
        ] {
            let server = Server::start([Reply::json("{}".to_owned())]).await.expect("a port");
            let endpoint = server.base_url();
            let variable = |name: &str| match name {
                "AZURE_OPENAI_ENDPOINT" => Some(endpoint.clone()),
                "AZURE_OPENAI_API_KEY" => Some("planted".to_owned()),
                "OPENAI_API_VERSION" => version.map(str::to_owned),
                _ => None,
            };
            let client = Client::builder().env().schedule(None).build_in(variable).expect("valid");
            // What comes back is no answer, and no matter here.
            let answer = client.chat(model).user("hi").send().await;
            assert_eq!(answer.map(drop).map_err(|error| error.kind()), Err(ErrorKind::Protocol));
            let asked = server.requests().pop().expect("one was sent");
            assert_eq!(asked.path, expected);
        }
    }

    #[tokio::test]
    async fn a_version_that_is_none_is_named() {
        let variable = |name: &str| match name {
            "AZURE_OPENAI_ENDPOINT" => Some("https://r.openai.azure.com".to_owned()),
            "AZURE_OPENAI_API_KEY" => Some("planted".to_owned()),
            "OPENAI_API_VERSION" => Some("2024&x=1".to_owned()),
            _ => None,
        };
        let client = Client::builder().env().build_in(variable).expect("valid for all others");
        let error = client.chat("azure-deployment:d").user("hi").send().await.expect_err("no version");
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.message().starts_with("OPENAI_API_VERSION: "), "{error}");
    }
}
