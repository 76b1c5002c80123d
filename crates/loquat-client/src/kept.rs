//! What is kept at a provider: files and batches. Each method is one attempt, but for the two that are several calls and say so.

use bytes::Bytes;
use loquat_core::{Context, Result};
use loquat_provider::operations::{self, Batch, BatchItem, BatchResult, FilePage, FileUpload, StoredFile};

use crate::HttpModel;

impl HttpModel {
    /// Sends a file. Bounded by [`GenerationLimits::total`](crate::GenerationLimits::total), as all of these are.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](loquat_core::ErrorKind::Unsupported) where the format keeps no files; else as
    /// [`Model::infer`](loquat_core::Model::infer).
    pub async fn upload_file(&self, context: &Context, file: &FileUpload) -> Result<StoredFile> {
        let call = operations::encode_file_upload(self.format(), file)?;
        operations::decode_file(&self.call(context, call).await?)
    }

    /// A page of the files there are: the first, or the one after.
    ///
    /// # Errors
    /// As [`upload_file`](Self::upload_file).
    pub async fn list_files(&self, context: &Context, after: Option<&str>) -> Result<FilePage> {
        let call = operations::encode_file_list(self.format(), after)?;
        operations::decode_file_list(&self.call(context, call).await?)
    }

    /// What a file is.
    ///
    /// # Errors
    /// As [`upload_file`](Self::upload_file).
    pub async fn file(&self, context: &Context, id: &str) -> Result<StoredFile> {
        let call = operations::encode_file_info(self.format(), id)?;
        operations::decode_file(&self.call(context, call).await?)
    }

    /// A file's content, at most 128 MiB of it.
    ///
    /// # Errors
    /// As [`upload_file`](Self::upload_file); [`ErrorKind::TooLarge`](loquat_core::ErrorKind::TooLarge).
    pub async fn file_content(&self, context: &Context, id: &str) -> Result<Bytes> {
        self.call(context, operations::encode_file_content(self.format(), id)?).await
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// As [`upload_file`](Self::upload_file).
    pub async fn delete_file(&self, context: &Context, id: &str) -> Result<()> {
        self.call(context, operations::encode_file_delete(self.format(), id)?).await.map(drop)
    }

    /// Hands requests over as a batch. Where the provider wants them as a file these are two calls, and the file stays there
    /// if the second one fails.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](loquat_core::ErrorKind::Unsupported) where the format has no batches; what
    /// [`operations::encode_batch_lines`] refuses; else as [`Model::infer`](loquat_core::Model::infer).
    pub async fn start_batch(&self, context: &Context, items: &[BatchItem]) -> Result<Batch> {
        let (format, model) = (self.format(), &self.endpoint().model);
        let file = match operations::encode_batch_lines(format, items, model)? {
            Some(lines) => {
                let file = FileUpload::new("batch.jsonl", "application/jsonl", lines).with_purpose("batch");
                Some(self.upload_file(context, &file).await?)
            }
            None => None,
        };
        let file = file.as_ref().map(|file| file.id.as_str());
        let call = operations::encode_batch(format, items, model, file)?;
        operations::decode_batch(&self.call(context, call).await?)
    }

    /// How far a batch is.
    ///
    /// # Errors
    /// As [`start_batch`](Self::start_batch).
    pub async fn batch(&self, context: &Context, id: &str) -> Result<Batch> {
        let call = operations::encode_batch_info(self.format(), id)?;
        operations::decode_batch(&self.call(context, call).await?)
    }

    /// Tells a batch to stop.
    ///
    /// # Errors
    /// As [`start_batch`](Self::start_batch).
    pub async fn cancel_batch(&self, context: &Context, id: &str) -> Result<Batch> {
        let call = operations::encode_batch_cancel(self.format(), id)?;
        operations::decode_batch(&self.call(context, call).await?)
    }

    /// What became of each request of a batch that has ended, in any order. One call, or two where what failed is a file of its
    /// own.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](loquat_core::ErrorKind::InvalidRequest) for a batch that has no results yet; else as
    /// [`start_batch`](Self::start_batch).
    pub async fn batch_results(&self, context: &Context, batch: &Batch) -> Result<Vec<BatchResult>> {
        let mut results = Vec::new();
        for call in operations::encode_batch_results(self.format(), batch)? {
            let lines = self.call(context, call).await?;
            results.extend(operations::decode_batch_results(self.format(), &lines)?);
        }
        Ok(results)
    }
}
