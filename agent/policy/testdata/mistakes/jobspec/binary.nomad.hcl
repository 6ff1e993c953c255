job ÿ {}
