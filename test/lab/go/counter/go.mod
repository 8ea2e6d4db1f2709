module podferry.io/lab/counter

go 1.26
