package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/libp2p"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const (
	// blobRounds are measured in turn with as many of plain TLS; the median counts.
	blobRounds = 7
	// spareBytes stay free on the disk beside what a row writes.
	spareBytes = 4 << 30
)

// content is a stream of n bytes that no file system stores as less.
func content(n uint64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{'b', 'l', 'o', 'b'}), int64(n))
}

// blobVersusTLS moves one blob from store to store, encrypted and verified, in turn
// with the same bytes over a TLS 1.3 connection of Go's: from a file to a file, as
// anybody would copy them, and from memory to nowhere, which is the stream alone.
func blobVersusTLS(ctx context.Context, b *bench) error {
	size := uint64(b.size(1<<30, 256<<20))
	dir, err := tempSpace(4 * size)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	src, err := newBlobEnd(ctx, filepath.Join(dir, "from"))
	if err != nil {
		return err
	}
	defer src.Close()
	id, err := src.store.PutReader(content(size), size)
	if err != nil {
		return err
	}
	src.net.Handle(p2p.ProtocolBlob, blob.Server(src.store, blob.ServerOptions{}))
	file := filepath.Join(dir, "file")
	if err := writeFile(file, content(size)); err != nil {
		return err
	}
	plain, err := listenTLS(file)
	if err != nil {
		return err
	}
	defer plain.Close()
	var speeds, cpus, streamSpeeds, streamCPUs []float64
	for i := range blobRounds + 1 { // the first warms all: caches, windows, the blob's tree
		stream, err := tookBy(func() error { return plain.move(ctx, size, "") })
		if err != nil {
			return err
		}
		copied := filepath.Join(dir, "copy")
		t, err := tookBy(func() error { return plain.move(ctx, size, copied) })
		if err := errors.Join(err, os.Remove(copied)); err != nil {
			return err
		}
		m, err := fetchOnce(ctx, filepath.Join(dir, strconv.Itoa(i)), src.net.Self(), id)
		if err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		speeds = append(speeds, t.wall.Seconds()/m.wall.Seconds())
		cpus = append(cpus, m.cpu.Seconds()/t.cpu.Seconds())
		streamSpeeds = append(streamSpeeds, stream.wall.Seconds()/m.wall.Seconds())
		streamCPUs = append(streamCPUs, m.cpu.Seconds()/stream.cpu.Seconds())
		gb := float64(size) / 1e9
		b.say("TLS of a file %.2f GB/s, %.2f CPU s/GB; of memory %.2f GB/s, %.2f CPU s/GB; blob %.2f GB/s, %.2f CPU s/GB",
			gb/t.wall.Seconds(), t.cpu.Seconds()/gb, gb/stream.wall.Seconds(), stream.cpu.Seconds()/gb, gb/m.wall.Seconds(), m.cpu.Seconds()/gb)
	}
	b.values["blob_vs_tls_memory"] = quantile(streamSpeeds, 0.5)
	b.values["blob_cpu_vs_tls_memory"] = quantile(streamCPUs, 0.5)
	b.values["blob_vs_tls"] = quantile(speeds, 0.5)
	b.values["blob_cpu_vs_tls"] = quantile(cpus, 0.5)
	return nil
}

// writeFile makes a file of a stream.
func writeFile(file string, from io.Reader) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{from}, make([]byte, tlsBuffer))
	return errors.Join(err, f.Close())
}

type took struct{ wall, cpu time.Duration }

func tookBy(f func() error) (took, error) {
	m, err := startMeter()
	if err != nil {
		return took{}, err
	}
	if err := f(); err != nil {
		return took{}, err
	}
	wall, cpu, err := m.stop()
	return took{wall, cpu}, err
}

// tempSpace makes a folder on a disk with that many bytes to spare.
func tempSpace(need uint64) (string, error) {
	dir, err := os.MkdirTemp("", "gotong-bench-")
	if err != nil {
		return "", err
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < need+spareBytes {
		err := fmt.Errorf("%s has %d MiB free, the row writes %d MiB and leaves %d: set TMPDIR to a larger disk", dir, free>>20, need>>20, spareBytes>>20)
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// blobEnd is a peer with a store.
type blobEnd struct {
	net   *libp2p.Network
	store *blob.FileStore
}

func newBlobEnd(ctx context.Context, dir string) (*blobEnd, error) {
	k, err := sign.NewKey()
	if err != nil {
		return nil, err
	}
	s, err := blob.OpenStore(dir, blob.Options{})
	if err != nil {
		return nil, err
	}
	n, err := libp2p.New(ctx, libp2p.Config{Key: k})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &blobEnd{n, s}, nil
}

// Close ends both.
func (e *blobEnd) Close() error { return errors.Join(e.net.Close(), e.store.Close()) }

// fetchOnce measures a fetch into an empty store, which is then removed.
func fetchOnce(ctx context.Context, dir string, from p2p.Peer, id work.BlobID) (took, error) {
	defer os.RemoveAll(dir)
	to, err := newBlobEnd(ctx, dir)
	if err != nil {
		return took{}, err
	}
	defer to.Close()
	if err := to.net.Connect(ctx, from); err != nil {
		return took{}, err
	}
	f := blob.NewFetcher(to.net, to.store, blob.FetcherOptions{})
	defer f.Close()
	return tookBy(func() error { return f.Fetch(ctx, id, []p2p.Peer{from}) })
}

// plainTLS is a listener that sends what it is asked for: its file, or memory.
type plainTLS struct {
	net.Listener
	dial *tls.Config
	file string
}

// tlsBuffer is what an end of the plain stream reads and writes at a time.
const tlsBuffer = 1 << 20

func listenTLS(file string) (*plainTLS, error) {
	cert, pool, err := selfSigned()
	if err != nil {
		return nil, err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	if err != nil {
		return nil, err
	}
	p := &plainTLS{l, &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS13}, file}
	go p.serve()
	return p, nil
}

func (p *plainTLS) serve() {
	for {
		c, err := p.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var want uint64
			var what string
			if _, err := fmt.Fscanln(c, &want, &what); err != nil {
				return
			}
			_ = p.send(c, want, what == "file") // the other end counts
		}()
	}
}

func (p *plainTLS) send(c net.Conn, want uint64, ofFile bool) error {
	chunk := make([]byte, tlsBuffer)
	if ofFile {
		f, err := os.Open(p.file)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{f}, chunk)
		return err
	}
	if _, err := io.ReadFull(content(uint64(len(chunk))), chunk); err != nil {
		return err
	}
	for want > 0 {
		n := min(want, uint64(len(chunk)))
		if _, err := c.Write(chunk[:n]); err != nil {
			return err
		}
		want -= n
	}
	return nil
}

// move brings n bytes over a new connection: of the file to a new one, or of memory to
// nowhere if there is no name for it.
func (p *plainTLS) move(ctx context.Context, n uint64, to string) error {
	c, err := (&tls.Dialer{Config: p.dial}).DialContext(ctx, "tcp", p.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	what, sink := "memory", io.Writer(io.Discard)
	if to != "" {
		f, err := os.Create(to)
		if err != nil {
			return err
		}
		defer f.Close()
		what, sink = "file", f
	}
	if _, err := fmt.Fprintln(c, n, what); err != nil {
		return err
	}
	got, err := io.CopyBuffer(struct{ io.Writer }{sink}, struct{ io.Reader }{c}, make([]byte, tlsBuffer))
	if err == nil && uint64(got) != n {
		err = fmt.Errorf("%d of %d bytes came over TLS", got, n)
	}
	return err
}

// blobWord is what the row says to the ends of blob_rss, and hears (blobend).
type blobWord struct {
	Role string      `json:"role"`
	Dir  string      `json:"dir"`
	Blob work.BlobID `json:"blob"`
	Peer p2p.Peer    `json:"peer"`
	Peak uint64      `json:"peak"`
	Sec  float64     `json:"sec"`
}

// blobRSS moves a large blob between two processes and asks each for its peak of
// resident memory.
func blobRSS(ctx context.Context, b *bench) error {
	size := uint64(b.size(10<<30, 1<<30))
	dir, err := tempSpace(2 * size)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "blobend")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/gotong-network/gotong/bench/blobend")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build an end of the transfer: %w: %s", err, out)
	}
	server, err := startBlobEnd(ctx, program)
	if err != nil {
		return err
	}
	defer server.stop()
	w, err := server.ask(blobWord{Role: "serve", Dir: filepath.Join(dir, "from"), Blob: work.BlobID{Size: size}})
	if err != nil {
		return err
	}
	fetcher, err := startBlobEnd(ctx, program)
	if err != nil {
		return err
	}
	defer fetcher.stop()
	got, err := fetcher.ask(blobWord{Role: "fetch", Dir: filepath.Join(dir, "to"), Blob: w.Blob, Peer: w.Peer})
	if err != nil {
		return err
	}
	sent, err := server.ask(w)
	if err != nil {
		return err
	}
	b.say("%d MiB in %.1f s; resident at most: sender %.1f MB, receiver %.1f MB", size>>20, got.Sec, float64(sent.Peak)/1e6, float64(got.Peak)/1e6)
	b.values["blob_rss"] = float64(max(sent.Peak, got.Peak)) / 1e6
	return nil
}

// blobProc is one end in a process of its own.
type blobProc struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startBlobEnd(ctx context.Context, program string) (_ *blobProc, err error) {
	p := &blobProc{cmd: exec.CommandContext(ctx, program)}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.cmd.Start()
}

func (p *blobProc) ask(w blobWord) (blobWord, error) {
	if err := json.NewEncoder(p.in).Encode(w); err != nil {
		return w, err
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return w, fmt.Errorf("an end of the transfer gave up: %w", err)
	}
	return w, json.Unmarshal(line, &w)
}

func (p *blobProc) stop() {
	p.in.Close()
	p.cmd.Wait()
}
