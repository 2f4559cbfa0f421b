// Reads and writes parameters and return values as go-state-types does, a value a line.
//
//	in:  {"actors": 19, "actor": "miner", "method": 5, "part": "params", "cbor": "<hex>", "json": {...}}
//	out: {"type": "…", "json": {...}, "cbor": "<hex>", "again": "<hex>", "error": "…"}
//
// `json` and `again` are made of the CBOR, `cbor` of the JSON. Types are those of its own tables of methods.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/batch"
	"github.com/filecoin-project/go-state-types/builtin"
	miner18 "github.com/filecoin-project/go-state-types/builtin/v18/miner"
	power18 "github.com/filecoin-project/go-state-types/builtin/v18/power"
	miner19 "github.com/filecoin-project/go-state-types/builtin/v19/miner"
	power19 "github.com/filecoin-project/go-state-types/builtin/v19/power"
)

type value interface {
	MarshalCBOR(io.Writer) error
	UnmarshalCBOR(io.Reader) error
}

type question struct {
	Actors int             `json:"actors"`
	Actor  string          `json:"actor"`
	Method uint64          `json:"method"`
	Part   string          `json:"part"`
	CBOR   string          `json:"cbor"`
	JSON   json.RawMessage `json:"json"`
}

type answer struct {
	Type  string          `json:"type"`
	JSON  json.RawMessage `json:"json,omitempty"`
	CBOR  string          `json:"cbor"`
	Again string          `json:"again"`
	Error string          `json:"error,omitempty"`
}

var tables = map[string]map[abi.MethodNum]builtin.MethodMeta{
	"miner18": miner18.Methods, "miner19": miner19.Methods,
	"power18": power18.Methods, "power19": power19.Methods,
}

func typeOf(asked question) (reflect.Type, error) {
	meta, known := tables[fmt.Sprintf("%s%d", asked.Actor, asked.Actors)][abi.MethodNum(asked.Method)]
	if !known {
		return nil, fmt.Errorf("actors v%d have no method %d", asked.Actors, asked.Method)
	}
	of := reflect.TypeOf(meta.Method)
	if asked.Part == "params" {
		return of.In(0).Elem(), nil
	}
	if meta.Name == "ProveCommitSectorsNI" { // its table says that it returns nothing
		return reflect.TypeOf(batch.BatchReturn{}), nil
	}
	return of.Out(0).Elem(), nil
}

func made(of reflect.Type) (value, error) {
	if found, fits := reflect.New(of).Interface().(value); fits {
		return found, nil
	}
	return nil, fmt.Errorf("%s has no CBOR of its own", of)
}

func converted(asked question) (answer, error) {
	of, err := typeOf(asked)
	if err != nil {
		return answer{}, err
	}
	told := answer{Type: of.String()}
	ofCBOR, err := made(of)
	if err != nil {
		return told, err
	}
	ofJSON, _ := made(of)
	raw, err := hex.DecodeString(asked.CBOR)
	if err != nil {
		return told, err
	}
	in := bytes.NewReader(raw)
	if err := ofCBOR.UnmarshalCBOR(in); err != nil {
		return told, fmt.Errorf("CBOR: %w", err)
	}
	if in.Len() > 0 {
		return told, fmt.Errorf("CBOR: %d bytes too many", in.Len())
	}
	if told.JSON, err = json.Marshal(ofCBOR); err != nil {
		return told, err
	}
	if err := json.Unmarshal(asked.JSON, ofJSON); err != nil {
		return told, fmt.Errorf("JSON: %w", err)
	}
	var out, again bytes.Buffer
	if err := ofJSON.MarshalCBOR(&out); err != nil {
		return told, err
	}
	if err := ofCBOR.MarshalCBOR(&again); err != nil {
		return told, err
	}
	told.CBOR, told.Again = hex.EncodeToString(out.Bytes()), hex.EncodeToString(again.Bytes())
	return told, nil
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked question
		if err := json.Unmarshal(line, &asked); err != nil {
			panic(err)
		}
		told, err := converted(asked)
		if err != nil {
			told.Error = err.Error()
		}
		if err := out.Encode(told); err != nil {
			panic(err)
		}
	}
}
