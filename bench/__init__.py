"""How fast consulcast is, against the thinnest program that could do the job. See README.md."""
