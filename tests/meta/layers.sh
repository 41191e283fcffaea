#!/bin/bash
# Who may know whom, read from the #include lines:
#   core <- device <- tensor <- { losses memorybank augment backbones data } <- train, eval <- cli
# The five in braces do not know each other. The command, examples, benches and tools see <cleave/...> only; oneDNN and
# BLAS are known to the one device folder that is there for them.
set -u
find include/cleave runtime losses memorybank augment backbones data train eval cli examples bench recipes \
    -name '*.[ch]' -o -name '*.cu' 2>/dev/null | sort | xargs awk '
    BEGIN {
        base = "core device tensor"
        knows["core"] = "core"; knows["device"] = "core device"; knows["tensor"] = base
        split("losses memorybank augment backbones data", five)
        for (i in five) { knows[five[i]] = base " " five[i]; middle = middle " " five[i] }
        knows["eval"] = base middle " eval"
        knows["train"] = base middle " train eval"
        knows["program"] = ""           # public headers and its own folder only: cli, examples, bench, recipes/tools

        split("base core|option core|view core|image core|transform core|profile core|device device|" \
              "graph tensor|loss losses|bank memorybank|augment augment|backbone backbones|data data|text data|train train|eval eval", lines, "|")
        for (i in lines) { split(lines[i], pair, " "); header[pair[1]] = pair[2] }
    }
    function area_of(path,   part) {
        if (path ~ /^(cli|examples|bench|recipes)\//) return "program"
        if (path ~ /^include\/cleave\//) {
            part = path; sub(/.*\//, "", part); sub(/\.h$/, "", part)
            if (part == "cleave") return "everything"
            return part in header ? header[part] : "unknown"
        }
        split(path, dir, "/")
        return dir[1] == "runtime" ? dir[2] : dir[1]
    }
    function top(path) { sub(/\/.*/, "", path); return path }
    function exists(path,   found, line) { found = (getline line < path) >= 0; close(path); return found }
    function complain(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; bad = 1 }
    FNR == 1 {
        files++
        from = area_of(FILENAME)
        if (from == "unknown") complain("this public header has no place in the table of tests/meta/layers.sh")
        else if (from != "everything" && !(from in knows)) complain("no such area: " from)
    }
    !/^[ \t]*#[ \t]*include/ || from == "everything" { next }
    match($0, /[<"][^">]+[">]/) {
        name = substr($0, RSTART + 1, RLENGTH - 2)
        quoted = substr($0, RSTART, 1) == "\""
        here = FILENAME; sub(/[^\/]*$/, "", here)
        if (name ~ /\.\./) { complain("write \"" name "\" from the root of the sources"); next }
        path = name ~ /^cleave\// ? "include/" name : quoted && exists(here name) ? here name : \
               exists("runtime/" name) ? "runtime/" name : exists(name) ? name : quoted ? "nowhere" : ""
        if (path == "nowhere") { complain("cannot find \"" name "\""); next }
        to = path == "" ? "" : area_of(path)
        if (from == "program") to = path ~ /^include\// || top(path) == top(FILENAME) ? "" : to
        if (to != "" && index(" " knows[from] " ", " " to " ") == 0) complain(from " must not know " to " (" name ")")
        if (name ~ /(^|\/)dnnl[a-z_]*\.h$/ && FILENAME !~ /^runtime\/device\/onednn\//)
            complain("only runtime/device/onednn may include " name)
        if (name ~ /(^|\/)(cblas|f77blas|lapacke?|openblas_config)\.h$/ && FILENAME !~ /^runtime\/device\/blas\//)
            complain("only runtime/device/blas may include " name)
    }
    END { if (files == 0) print "no sources found"; exit bad || files == 0 }'
