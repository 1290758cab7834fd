// oracle undoes operations in Merkle search trees with indigo's code: another implementation for the relay's to be
// compared with. It answers requests on standard input until that ends.
//
// Numbers are big-endian, a CID is the 32 bytes of its SHA-256. A request is the root of the tree, a u16 and as many
// blocks, each a u32 and as many bytes, and a u16 and as many operations in the order in which they are to be undone,
// each a u16 and as many bytes of path, and two CIDs, the record now and before, each behind a byte that is 0 where
// there is none. An answer is one byte and 32 more: 0 and the root that the tree then has, or 1 and zeros when it cannot
// be done.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/bluesky-social/indigo/atproto/repo"
	"github.com/bluesky-social/indigo/atproto/repo/mst"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

const digestBytes = 32

var form = cid.NewPrefixV1(cid.DagCBOR, multihash.SHA2_256)

func main() {
	in, out := reader{bufio.NewReader(os.Stdin)}, bufio.NewWriter(os.Stdout)
	for {
		if _, err := in.Peek(1); err == io.EOF {
			return
		}
		root, err := invert(in.request())
		answer := make([]byte, 1+digestBytes)
		if err != nil {
			answer[0] = 1
			if os.Getenv("ORACLE_VERBOSE") != "" {
				fmt.Fprintln(os.Stderr, err)
			}
		} else {
			hash := root.Hash()
			copy(answer[1:], hash[len(hash)-digestBytes:])
		}
		must(out.Write(answer))
		must(0, out.Flush())
	}
}

func invert(root cid.Cid, store *repo.TinyBlockstore, operations []repo.Operation) (*cid.Cid, error) {
	tree, err := mst.LoadTreeFromStore(context.Background(), store, root)
	if err != nil {
		return nil, err
	}
	for _, operation := range operations {
		if err := repo.InvertOp(tree, &operation); err != nil {
			return nil, err
		}
	}
	return tree.RootCID()
}

// reader reads the parts of a request. One that ends early is a mistake of whoever asks, and ends the program.
type reader struct{ *bufio.Reader }

func (in reader) request() (cid.Cid, *repo.TinyBlockstore, []repo.Operation) {
	root, store := in.cid(), repo.NewTinyBlockstore()
	for range in.number(2) {
		data := in.bytes(in.number(4))
		name, err := form.Sum(data)
		must(0, err)
		block, err := blocks.NewBlockWithCid(data, name)
		must(0, err)
		must(0, store.Put(context.Background(), block))
	}
	operations := make([]repo.Operation, in.number(2))
	for place := range operations {
		path := string(in.bytes(in.number(2)))
		operations[place] = repo.Operation{Path: path, Value: in.optional(), Prev: in.optional()}
	}
	return root, store, operations
}

func (in reader) optional() *cid.Cid {
	if in.number(1) == 0 {
		return nil
	}
	name := in.cid()
	return &name
}

func (in reader) cid() cid.Cid {
	hash, err := multihash.Encode(in.bytes(digestBytes), multihash.SHA2_256)
	must(0, err)
	return cid.NewCidV1(cid.DagCBOR, hash)
}

func (in reader) number(bytes int) int {
	wide := make([]byte, 8)
	copy(wide[8-bytes:], in.bytes(bytes))
	return int(binary.BigEndian.Uint64(wide))
}

func (in reader) bytes(count int) []byte {
	data := make([]byte, count)
	must(io.ReadFull(in, data))
	return data
}

func must(_ int, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}
