"""BGP through ExaBGP, run as one supervised child."""
