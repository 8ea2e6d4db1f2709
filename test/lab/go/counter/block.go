package main

import (
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"
	"os"
	"time"
)

// block is memory that nobody else has.
type block struct {
	bytes []byte
	// What is changed of each page all the time, from its beginning.
	changing int
}

func newBlock(size int, load string) *block {
	b := &block{bytes: make([]byte, size)}
	rand.Read(b.bytes)
	page := os.Getpagesize()
	switch load {
	case "compressible":
		for at := 0; at < size; at += page {
			for word := at + page/4; word+8 <= min(at+page, size); word += 8 {
				copy(b.bytes[word:], "podferry")
			}
		}
	case "idle5":
		b.changing = 8
		go b.write(size/page, page)
	}
	return b
}

// write changes 5 % of the pages every second, a tenth of them at a time, each page once in 20 s.
func (b *block) write(pages, page int) {
	// Not one after the other: a step that has no factor in common with their number reaches all of them.
	step := pages*618/1000 | 1
	for gcd(step, pages) != 1 {
		step += 2
	}
	next := 0
	for range time.Tick(100 * time.Millisecond) {
		for range max(1, pages/200) {
			at := b.bytes[next*page:]
			binary.LittleEndian.PutUint64(at, binary.LittleEndian.Uint64(at)+1)
			next = (next + step) % pages
		}
	}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// checksum is of what does not change.
func (b *block) checksum() uint32 {
	if b.changing == 0 {
		return crc32.ChecksumIEEE(b.bytes)
	}
	sum := uint32(0)
	page := os.Getpagesize()
	for at := 0; at < len(b.bytes); at += page {
		sum = crc32.Update(sum, crc32.IEEETable, b.bytes[at+b.changing:min(at+page, len(b.bytes))])
	}
	return sum
}
