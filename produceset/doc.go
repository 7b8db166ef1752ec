// Package produceset has the batches of a produce request: record batches v2, one a partition. A batch is encoded record by
// record into pooled buffers, then compressed, and kept as those bytes until its outcome, so that a resend carries the same
// ones.
//
// A record's way through here:
//
//   - [Batch.AppendRun] encodes it, or [Batch.Append] if it needs care.
//   - [Batch.Seal] compresses the batch.
//   - [Batch.SetIdentity] says which producer and sequence the batch is written under, as often as that changes.
//   - [Batch.Frame] is what goes on the wire.
//   - [Batch.Split] halves a batch that a broker finds too large.
//   - [Batch.Release] gives its memory back.
//
// A batch has one owner at a time, and is handed on whole.
//
// The package promises no compatibility.
package produceset
