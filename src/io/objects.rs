//! Users' files in stores of objects: S3, and whatever speaks its protocol.
//!
//! An object is read in blocks, of which a few are kept, since Parquet reads the columns of a row group side by side; it
//! is written in parts, and is there, whole, when it is finished. Credentials, region and endpoint come from the environment
//! (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …). Everything waits: there is nothing else
//! to do for who imports or exports.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

use crate::limits::{OBJECT_BLOCK_COUNT_MAX, OBJECT_BLOCK_SIZE, OBJECT_PART_COUNT_MAX, OBJECT_PART_SIZE};

/// What requests run on: they go on while the caller is busy with what it has.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let built = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        built.expect("a thread for requests can be started")
    })
}

fn failed(error: object_store::Error) -> io::Error {
    let kind = match error {
        object_store::Error::NotFound { .. } => io::ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// A name in a bucket.
pub(super) struct Object {
    store: AmazonS3,
    key: Key,
}

impl Object {
    /// The object of an address, with the path that is in it. Nothing is asked for yet.
    pub fn new(address: &str, path: &str) -> io::Result<Object> {
        let store = AmazonS3Builder::from_env().with_url(address).build().map_err(failed)?;
        let key = Key::from_url_path(path).map_err(io::Error::other)?;
        Ok(Object { store, key })
    }

    pub fn size(&self) -> io::Result<u64> {
        runtime().block_on(self.store.head(&self.key)).map(|meta| meta.size).map_err(failed)
    }

    /// Whether there are objects below the name, as below that of a directory.
    pub fn is_directory(&self) -> bool {
        let listed = runtime().block_on(self.store.list_with_delimiter(Some(&self.key)));
        listed.is_ok_and(|listed| !listed.objects.is_empty())
    }

    pub fn open(self) -> io::Result<ObjectReader> {
        let size = self.size()?;
        Ok(ObjectReader { object: Arc::new(self), size, at: 0, blocks: Arc::default() })
    }

    pub fn create(self) -> io::Result<ObjectWriter> {
        let upload = runtime().block_on(self.store.put_multipart(&self.key)).map_err(failed)?;
        let parts = WriteMultipart::new_with_chunk_size(upload, OBJECT_PART_SIZE);
        Ok(ObjectWriter { parts: Some(parts) })
    }
}

/// Reads an object. Clones share the blocks that are kept, and read where they like.
#[derive(Clone)]
pub struct ObjectReader {
    object: Arc<Object>,
    size: u64,
    at: u64,
    /// The blocks read last, with their numbers, the latest first.
    blocks: Arc<Mutex<VecDeque<(u64, Bytes)>>>,
}

impl std::fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectReader")
            .field("key", &self.object.key)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl ObjectReader {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn block(&self, number: u64) -> io::Result<Bytes> {
        let mut blocks = self.blocks.lock();
        let found = blocks.iter().position(|(known, _)| *known == number);
        let block = match found.and_then(|at| blocks.remove(at)) {
            Some((_, block)) => block,
            None => {
                let start = number * OBJECT_BLOCK_SIZE;
                let range = start..self.size.min(start + OBJECT_BLOCK_SIZE);
                let Object { store, key } = &*self.object;
                let bytes = runtime().block_on(store.get_range(key, range.clone())).map_err(failed)?;
                if bytes.len() as u64 != range.end - range.start {
                    return Err(io::Error::other("the object changed while it was read"));
                }
                bytes
            }
        };
        blocks.truncate(OBJECT_BLOCK_COUNT_MAX - 1);
        blocks.push_front((number, block.clone()));
        Ok(block)
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let block = self.block(self.at / OBJECT_BLOCK_SIZE)?;
        let rest = &block[(self.at % OBJECT_BLOCK_SIZE) as usize..];
        let size = rest.len().min(buffer.len());
        buffer[..size].copy_from_slice(&rest[..size]);
        self.at += size as u64;
        Ok(size)
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// Writes an object. Nothing of it is left if it is dropped before it was finished.
#[derive(Debug)]
pub struct ObjectWriter {
    /// There until it is finished.
    parts: Option<WriteMultipart>,
}

impl ObjectWriter {
    pub fn finish(mut self) -> io::Result<()> {
        let parts = self.parts.take().expect("it is finished once");
        runtime().block_on(parts.finish()).map(|_| ()).map_err(failed)
    }
}

impl Write for ObjectWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let parts = self.parts.as_mut().expect("it is not finished");
        runtime().block_on(async {
            parts.wait_for_capacity(OBJECT_PART_COUNT_MAX).await.map_err(failed)?;
            parts.write(bytes);
            Ok(bytes.len())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            // A part that is on its way would arrive after the upload was given up. Who drops it has an error to tell already.
            let _ = runtime().block_on(async {
                let _ = parts.wait_for_capacity(1).await;
                parts.abort().await
            });
        }
    }
}
