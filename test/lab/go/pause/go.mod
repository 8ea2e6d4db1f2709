module podferry.io/lab/pause

go 1.26
